"""Text files in common encodings and line endings: the same text in every form."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from templora_edge.evaluation.translations import read_side
from templora_edge.host.text_file import decode, read_text
from templora_edge.translation.glossary import Glossary
from templora_edge.translation.parallel_text import read_bitext
from templora_edge.translation.prompt import Pair, Request, TemplatePrompt

TEXT = "Où est-il ?\n\nIci. \u2028Là.\n"

FORMS: dict[str, Callable[[str], bytes]] = {
    "LF": lambda text: text.encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "BOM": lambda text: text.encode("utf-8-sig"),
    "CR": lambda text: text.replace("\n", "\r").encode(),
    "BOM and CRLF": lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    "UTF-16, little": lambda text: b"\xff\xfe" + text.replace("\n", "\r\n").encode("utf-16-le"),
    "UTF-16, big": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
}


@pytest.fixture(params=FORMS)
def save(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a text to a file in one of the forms."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_bytes(FORMS[request.param](text))
        return path

    return write


def test_the_same_text_in_every_form(save: Callable[[str, str], Path]) -> None:
    assert read_text(save("text.txt", TEXT)) == TEXT


def test_what_reads_files_of_text_reads_every_form(save: Callable[[str, str], Path]) -> None:
    pairs = [Pair("un \u2028mot", "a word"), Pair("deux", "two")]
    lines = [{"fr": pair.source, "en": pair.translation} for pair in pairs]
    jsonl = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    read = [Pair("un mot", "a word"), pairs[1]]  # a segment is one line
    assert read_bitext(save("pairs.jsonl", jsonl), "fr", "en") == read
    tsv = "".join(f"{pair.source}\t{pair.translation}\n" for pair in pairs)
    assert read_bitext(save("pairs.tsv", tsv), "fr", "en") == read
    assert read_side(save("side.jsonl", jsonl), "en").texts == ["a word", "two"]
    assert read_side(save("side.txt", TEXT), None).texts == ["Où est-il ?", "", "Ici. \u2028Là."]
    csv = save("terms.csv", 'mer,"the\nsea"\n\nmarin,sailor\n')
    assert Glossary.read(csv, "fr", "en").terms == (
        Pair("mer", "the\nsea"),
        Pair("marin", "sailor"),
    )
    template = save("prompt.jinja", "{{ source_language }}:\n{{ source }}\n")
    prompt = TemplatePrompt.read(template, "fr", "en")
    assert prompt(Request("Bonjour")) == "French:\nBonjour"


@pytest.mark.parametrize("data", [b"caf\xe9", b"\xff\xfea\0b"])
def test_what_is_in_neither_encoding(data: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        decode(data)
