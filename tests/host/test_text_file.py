"""Text files in common encodings and line endings: the same text in every form."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from templora_edge.evaluation.translations import read_side
from templora_edge.host.text_file import decode, read_text
from templora_edge.translation.glossary.glossary import Glossary
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
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
    "UTF-32": lambda text: text.encode("utf-32"),
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


WESTERN = "« Où est-il ? – À Noël, ça va ; l’été… »\n¿Dónde está el niño? ¡Mañana! Größe, Straße.\n"
POLISH = "Zażółć gęślą jaźń. Stary strażnik wspinał się każdego wieczoru i patrzył na morze.\n"
HUNGARIAN = "Árvíztűrő tükörfúrógép. Az öreg őr minden este felment a toronyba.\n"
RUSSIAN = "Старый смотритель каждый вечер поднимался на маяк и смотрел на море.\n"
TURKISH = "Yaşlı bekçi her akşam deniz fenerine çıkar ve gülümserdi.\n"
JAPANESE = "灯台守は毎晩、二百段の階段を上った。海はインクのように黒くなった。\n"
CHINESE = "老看守人每天晚上登上灯塔的两百级台阶，看着海水变得像墨水一样黑。\n"


@pytest.mark.parametrize(
    ("language", "text", "encoding"),
    [
        ("fr", "L’été est fini.", "cp1252"),
        (None, "L’été est fini.", "cp1252"),
        (None, WESTERN, "cp1252"),
        ("FR", WESTERN, "mac_roman"),
        ("pl", POLISH, "cp1250"),
        ("pl-PL", POLISH, "iso8859_2"),
        ("hu", HUNGARIAN, "iso8859_2"),
        ("ru", RUSSIAN, "cp1251"),
        (None, RUSSIAN, "koi8_r"),
        ("ru", RUSSIAN, "cp866"),
        ("tr", TURKISH, "cp1254"),
        (None, JAPANESE, "shift_jis"),
        ("ja", JAPANESE, "euc_jp"),
        ("zh_CN", CHINESE, "gb18030"),
        ("zh", "".join(c for c in CHINESE if c.encode("big5", "ignore")), "big5"),
    ],
)
def test_an_old_encoding_is_guessed_and_said(
    caplog: pytest.LogCaptureFixture, language: str | None, text: str, encoding: str
) -> None:
    assert decode(text.encode(encoding), "in.txt", language) == text
    assert caplog.text.count("in.txt: not UTF-8; read as ") == 1


@pytest.mark.parametrize("text", [RUSSIAN, CHINESE, WESTERN])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_unicode_without_a_mark_is_no_guess(
    caplog: pytest.LogCaptureFixture, text: str, encoding: str
) -> None:
    assert decode(text.encode(encoding), "in.txt") == text
    assert not caplog.text


def test_few_bytes_that_are_not_utf_8_do_not_spoil_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert decode(WESTERN.encode() + b"caf\xe9\n", "in.txt") == WESTERN + "café\n"
    assert "in.txt: 1 bytes are not UTF-8" in caplog.text


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfea\0b",  # half a character
        b"\xff\xfea\0\0\0",
        b"a text with a\0NUL",
        b"\0\0",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        hashlib.shake_128(b"a").digest(1000),
        hashlib.shake_128(b"b").digest(1000).replace(b"\0", b""),
    ],
)
def test_what_is_no_text(data: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        decode(data, "in.txt")
