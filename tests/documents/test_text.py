"""Plain text, and the parts shared by all formats: placeholders, files of lines, wrapping."""

import re
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripted import echoed

from templora_edge.documents import markup, read_document
from templora_edge.documents.markup import PLACEHOLDER, Node, Paragraph, Single, Span
from templora_edge.documents.plain_file import PlainFile
from templora_edge.documents.text import TextDocument
from templora_edge.documents.wrapping import chunks, columns, filled, joined
from templora_edge.errors import DocumentError

PROSE = (
    "The mill stood where the two streams met, and its wheel had not turned since the old miller "
    "left for the coast. Children were told to keep away from it; they went there every summer "
    "evening, and came home wet. Nobody had ever drowned, but the tale said otherwise, and the "
    "tale was older than the mill. "
)
VERSE = (
    "When morning comes across the silent hills,\n"
    "And mist is lifted slowly from the stream,\n"
    "The miller wakes, the ancient water-wheel fills,\n"
    "And grinds the golden harvest like a dream;\n"
    "The sparrows leave the rafters one by one,\n"
    "For them as well the night and fast are done.\n"
)
SHORT = "now\nthere is\na line\nand another, not quite as short as those\nhere\n"
CHINESE = (
    "磨坊立在两条溪流相会的地方，自从老磨工去了海边，水轮就再也没有转动过。孩子们被告知要远离它。"
)


def written(
    folder: Path, source: bytes | str, translations: Sequence[str], *, bilingual: bool = False
) -> bytes:
    path = folder / "in.txt"
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    document = read_document(path)
    assert len(document.paragraphs) == len(translations)
    out = folder / "out.txt"
    document.write(out, translations, language="en", bilingual=bilingual)
    return out.read_bytes()


def paragraphs(folder: Path, source: bytes | str) -> list[str]:
    path = folder / "in.txt"
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    return list(read_document(path).paragraphs)


# Placeholders

MARKED = st.lists(
    st.sampled_from(
        ["<1>", "</1>", "<2>", "</2>", "<1/>", "<2/>", "</1/>", "<", ">", "/", "1", "a"]
    ),
    max_size=12,
).map("".join)


def render(nodes: Sequence[Node]) -> str:
    text = ""
    for node in nodes:
        if isinstance(node, Span):
            text += f"<{node.number}>{render(node.children)}</{node.number}>"
        else:
            text += f"<{node.number}/>" if isinstance(node, Single) else node
    return text


def is_nested(text: str) -> bool:
    """Whether nothing is left after removing innermost spans, one after another."""
    while (smaller := re.sub(r"<([1-9])/>|<([1-9])>((?!</?[1-9]/?>).)*?</\2>", "·", text)) != text:
        text = smaller
    return not PLACEHOLDER.search(text)


@settings(max_examples=500, deadline=None)
@given(MARKED)
@example("<1>a<2>b</1>c</2>")
@example("</1>")
@example("<1><1></1></1>")
@example("<<1/>1>")
def test_parse_finds_what_is_nested(text: str) -> None:
    nodes = markup.parse(text)
    assert (nodes is not None) == markup.is_balanced(text) == is_nested(text)
    if nodes is not None:
        assert render(nodes) == text
        assert not any(isinstance(node, str) and PLACEHOLDER.search(node) for node in nodes)


@settings(max_examples=300, deadline=None)
@given(MARKED, MARKED)
@example("<1>a</1><2/>", "<2/><1>b</1>")
@example("<1>a</1><2>b</2>", "<1><2>b</1></2>")
@example("<1>a</1>", "<1>a</1><1>a</1>")
def test_is_kept_is_each_placeholder_once(source: str, translation: str) -> None:
    found = [
        sorted(match.group() for match in PLACEHOLDER.finditer(t)) for t in (source, translation)
    ]
    assert markup.is_kept(source, translation) == (found[0] == found[1] and is_nested(translation))


@settings(max_examples=300, deadline=None)
@given(MARKED, MARKED)
@example("<1/>", "a<<2/>1>b")
def test_without_spans_keeps_what_has_no_text(source: str, translation: str) -> None:
    assert not PLACEHOLDER.search(markup.plain(translation))
    text = markup.without_spans(source, translation)
    assert markup.singles(text) == markup.singles(source)
    assert PLACEHOLDER.sub("", text) == markup.plain(translation)
    nodes = markup.parse("".join(f"<{number}/>" for number in markup.singles(source)))
    assert nodes == tuple(Single(number) for number in markup.singles(source))


@settings(max_examples=300, deadline=None)
@given(st.lists(MARKED | st.integers(0, 2), max_size=8))
@example(["a <1", ">", " <", "2", "/>"])
def test_a_paragraph_is_what_it_was_built_of(pieces: list[str | int]) -> None:
    """Also if one piece ends what another began, and with text that looks like a placeholder."""
    paragraph, literals, spans, plain = Paragraph(), dict[int, str](), list[int](), ""
    for piece in pieces:
        if isinstance(piece, str):
            literals.update(paragraph.add_text(piece))
            plain += piece
        elif piece == 0:
            paragraph.add_single()
            plain += "·"
        elif piece == 1:
            spans.append(paragraph.open_span())
            plain += "["
        elif spans:
            paragraph.close_span(spans.pop())
            plain += "]"
    while spans:
        paragraph.close_span(spans.pop())
        plain += "]"
    text = paragraph.text
    assert markup.is_kept(text, text)

    def original(match: re.Match[str]) -> str:
        closing, number, single = match.groups()
        return literals.get(int(number), "·") if single else "]" if closing else "["

    assert PLACEHOLDER.sub(original, text) == plain
    numbers = [int(match[2]) for match in PLACEHOLDER.finditer(text) if not match[1]]
    assert numbers == list(range(1, len(numbers) + 1))


def test_numbers_without_end_are_text() -> None:
    huge = f"<{'1' * 5000}/>"
    assert markup.parse(huge) == (huge,)
    assert markup.parse("<١/>") == ("<١/>",)
    assert Paragraph().add_text(huge) == []


# Files of lines


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("a \t\n\r\u2028\x85\ufeffé")), st.booleans())
@example("a\r\nb\nc\r", False)
@example("a\rb\r", True)
def test_lines_of_a_file_are_the_file(text: str, has_bom: bool) -> None:
    data = (b"\xef\xbb\xbf" if has_bom else b"") + text.encode()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        if not text.removeprefix("" if has_bom else "\ufeff").strip():
            with pytest.raises(DocumentError, match="empty"):
                PlainFile.read(path)
            return
        file = PlainFile.read(path)
        assert not any("\n" in line for line in file.lines)
        file.write(path, file.lines)
        assert path.read_bytes() == data


# Wrapping


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.text("abcé.", min_size=1, max_size=12), min_size=1),
    st.integers(5, 40),
    st.text(" >", max_size=3),
    st.text(" ", max_size=3),
)
def test_filled_is_textwrap(words: list[str], width: int, first: str, rest: str) -> None:
    text = " ".join(words)
    assert filled(chunks(text), width, first, rest) == textwrap.wrap(
        f"{text}", width, initial_indent=first, subsequent_indent=rest, break_long_words=False
    )


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.text("磨坊立。，「」（）ー", max_size=30).map("水".__add__) | st.just("mot"), min_size=1
    )
)
def test_chinese_is_wrapped_between_characters(words: list[str]) -> None:
    text = "".join(f" {word} " if word == "mot" else word for word in words).strip()
    text = text.replace("  ", " ")
    lines = filled(chunks(text), 20, "", "")
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    for line, after in pairwise(lines):
        assert after[0] not in "。，」）ー"
        assert columns(line) <= 20 or len(chunks(line)) == 1
        assert "mot" in words or columns(line + chunks(after)[0]) > 20
    assert joined(lines).replace(" ", "") == text.replace(" ", "")
    if "mot" not in words:
        assert joined(lines) == text


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["un", "deux"], "un deux"),
        (["porte-", "clé"], "porte-clé"),
        (["he paused--", "then left"], "he paused--then left"),
        (["he paused --", "then left"], "he paused -- then left"),
        (["un -", "deux"], "un - deux"),
        (["你好", "世界"], "你好世界"),
        (["你好", "world"], "你好 world"),
        (["한국어", "문장"], "한국어 문장"),
    ],
)
def test_joined(lines: list[str], text: str) -> None:
    assert joined(lines) == text


# Documents

LINES = st.lists(st.text("aé1<>/ \t\u00a0\u3000\f-.", max_size=20), min_size=1, max_size=8)


@settings(max_examples=300, deadline=None)
@given(LINES, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.booleans())
def test_short_lines_are_translated_where_they_are(
    lines: list[str], newline: str, has_bom: bool, ends: bool
) -> None:
    text = newline.join([*lines, "fin"]) + newline * ends
    mark = "\ufeff" * has_bom
    with TemporaryDirectory() as name:
        folder = Path(name)
        found = paragraphs(folder, mark + text)
        assert written(folder, mark + text, found) == (mark + text).encode()
        capitals = [paragraph.upper() for paragraph in found]
        assert written(folder, mark + text, capitals) == (mark + text.upper()).encode()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text("ab. -<1>/é磨", max_size=90), min_size=1, max_size=12), st.integers(0, 4))
def test_identity_is_exact_however_lines_are_broken(lines: list[str], indent: int) -> None:
    wrapped = textwrap.fill(PROSE, 60, initial_indent=" " * indent)
    data = "\r\n".join([*lines, wrapped.replace("\n", "\r\n"), *lines]).encode()
    with TemporaryDirectory() as name:
        assert written(Path(name), data, paragraphs(Path(name), data)) == data


def test_what_a_model_repeats_is_exact(tmp_path: Path) -> None:
    source = f"{PROSE}\n\n    {PROSE * 4}\n\n\n{textwrap.fill(PROSE, 60)}\n\n* * *\n{CHINESE}\n"
    found = paragraphs(tmp_path, source)
    assert written(tmp_path, source, echoed(found)) == source.encode()


@pytest.mark.parametrize("width", [50, 65, 72, 80, 120])
@pytest.mark.parametrize(("indent", "gap"), [("", "\n\n"), ("    ", "\n\n"), ("    ", "\n")])
def test_wrapped_prose_is_one_paragraph(width: int, indent: str, gap: str, tmp_path: Path) -> None:
    """Without blank lines, an indent separates paragraphs."""
    texts = [PROSE.strip(), '"You will not go there," she said.', (PROSE * 3).strip(), "He went."]
    source = gap.join(textwrap.fill(text, width, initial_indent=indent) for text in texts) + "\n"
    assert paragraphs(tmp_path, source) == texts
    new = [text.upper().replace("THE", "LE PETIT") for text in texts]
    result = written(tmp_path, source, new)
    lines = result.decode().split("\n")
    assert 0.9 * width < max(map(len, lines)) <= width
    assert lines[0].startswith(indent + "LE PETIT MILL")
    assert lines[1] == lines[1].strip()
    assert paragraphs(tmp_path, result) == new


def test_wrapping_again_is_textwrap(tmp_path: Path) -> None:
    source = textwrap.fill(PROSE, 70, initial_indent="  ", subsequent_indent=" ")
    width = max(map(len, source.split("\n")))
    new = PROSE.upper().strip() + " L'an\u00a0II"
    assert written(tmp_path, source, [new]).decode() == textwrap.fill(
        new, width, initial_indent="  ", subsequent_indent=" "
    )


def test_chinese_lines_are_joined_without_space(tmp_path: Path) -> None:
    source = "\n".join(filled(chunks(CHINESE), 60, "", ""))
    assert source.count("\n") > 0
    assert paragraphs(tmp_path, source) == [CHINESE]
    assert written(tmp_path, source, [CHINESE.replace("，", "，而")]).decode().count("\n") > 0


@pytest.mark.parametrize(
    "source",
    [
        VERSE,
        f"{VERSE}\n{VERSE}",
        SHORT,
        "- flour, as much as the two sacks by the door will give you today\n" * 5,
        "1. Open the gate of the upper stream and wait until the wheel turns\n"
        "2) Close it when the bell has rung three times and nobody answers\n"
        "a. Never leave the mill while grain is in the hopper, not even once\n",
        "Oui.\nNon.\nPeut-être bien.\n",
        "A paragraph that is a line, however long. " * 9 + "\n" + "Another one. " * 30,
    ],
)
def test_verse_and_lists_stay_line_by_line(source: str, tmp_path: Path) -> None:
    lines = [line.strip() for line in source.split("\n") if line]
    assert paragraphs(tmp_path, source) == lines
    result = written(tmp_path, source, [f"<{line}>" for line in lines]).decode()
    assert [line for line in result.split("\n") if line] == [
        f"<{line}>" + trailing
        for line, trailing in zip(lines, re.findall(r"\S( *)(?:\n|$)", source), strict=False)
    ]


def test_verse_and_lists_between_wrapped_prose(tmp_path: Path) -> None:
    prose = textwrap.fill(PROSE * 2, 72)
    items = textwrap.fill(PROSE, 72, initial_indent="- ", subsequent_indent="  ")
    source = f"THE MILL\n\n{prose}\n\n{VERSE}\n{SHORT}\n{prose}\n\n{items}\n{items}\n"
    whole = (PROSE * 2).strip()
    assert paragraphs(tmp_path, source) == [
        "THE MILL", whole, *(VERSE + SHORT).strip().split("\n"), whole, *[f"- {PROSE.strip()}"] * 2
    ]  # fmt: skip


def test_txt_wrapped_prose_and_toc_is_decided_paragraph_by_paragraph(tmp_path: Path) -> None:
    titles = [f"Chapter {i}. What the miller did on day {i}" for i in range(1, 61)]
    toc = "\n".join(f"    {title:.<60} {7 * i}" for i, title in enumerate(titles, 1))
    prose = (PROSE * 2).strip()
    quoted = textwrap.fill(prose, 58, initial_indent="      ", subsequent_indent="      ")
    source = f"CONTENTS\n\n{toc}\n\n{textwrap.fill(prose, 72)}\n\n{quoted}\n\n  * * *\n"
    assert paragraphs(tmp_path, source) == ["CONTENTS", *titles, prose, prose]
    new = ["INHALT", *(title.replace("What", "Und was") for title in titles), *[prose.upper()] * 2]
    lines = written(tmp_path, source, new).decode().split("\n")
    assert lines[2] == f"    {new[1]:.<60} 7"
    assert {len(line) for line in lines[2:62]} <= {len(line) for line in toc.split("\n")}
    assert "\n".join(lines[63:-3]) == "\n\n".join(
        [
            textwrap.fill(prose.upper(), max(map(len, textwrap.wrap(prose, 72)))),
            textwrap.fill(
                prose.upper(),
                max(map(len, quoted.split("\n"))),
                initial_indent="      ",
                subsequent_indent="      ",
            ),
        ]
    )


def test_words_divided_at_line_ends_are_whole_and_compounds_keep_their_hyphen(
    tmp_path: Path,
) -> None:
    text = (
        "The miller had gone to the coast long before any of us was born, and the old water-\n"
        "wheel had not turned since the day on which he left it. Whoever asked about the mil-\n"
        "ler and his water-wheel was told to keep away from the place, and to go home at once.\n"
    )
    [found] = paragraphs(tmp_path, text)
    assert "old water-wheel had" in found
    assert "the miller and" in found
    assert written(tmp_path, text, [found]).decode() == text


@pytest.mark.parametrize(
    ("source", "found", "translations", "expected"),
    [
        ("a <1> b </1>\n", ["a <1/> b <2/>"], ["B <2/> A <1/>"], "B </1> A <1>\n"),
        ("<1/><2>x", ["<1/><2/>x"], ["X<1/> <2/>"], "X<1/> <2>"),
        ("  Un\u00a0?  \n", ["Un\u00a0?"], ["One\u202f?\n\n Two"], "  One\u202f? Two  \n"),
        ("12\n***\nUn", ["Un"], ["One"], "12\n***\nOne"),
        ("Un\r\ndeux\n", ["Un", "deux"], ["One", "two"], "One\r\ntwo\n"),
    ],
)
def test_translations_in_place(
    source: str, found: list[str], translations: list[str], expected: str, tmp_path: Path
) -> None:
    assert paragraphs(tmp_path, source) == found
    assert written(tmp_path, source, translations).decode() == expected


@pytest.mark.parametrize(
    ("source", "translations", "expected"),
    [
        ("Un\n\n  Deux", ["One", "Two"], "Un\nOne\n\n  Deux\n  Two"),
        ("\ufeffUn\r\n12\r\n", ["One"], "\ufeffUn\r\nOne\r\n12\r\n"),
        (VERSE, VERSE.upper().strip().split("\n"),
         "".join(f"{line}\n{line.upper()}\n" for line in VERSE.strip().split("\n"))),
        (textwrap.fill(PROSE, 60), [PROSE.lower().strip()],
         textwrap.fill(PROSE, 60) + "\n" + textwrap.fill(PROSE.lower(), 60)),
    ],
)  # fmt: skip
def test_bilingual(source: str, translations: list[str], expected: str, tmp_path: Path) -> None:
    assert written(tmp_path, source, translations, bilingual=True).decode() == expected


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"Un chat\0", ["not text", "0x00 at 7"]),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ["not text"]),
        (b"", ["empty"]),
        (b"\xef\xbb\xbf \r\n\t\n", ["empty"]),
    ],
)
def test_bad_files_are_refused_in_one_line(data: bytes, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(data)
    check_refusal(path, *words)


ENCODED = "L’été arrive enfin.\n\nLe gardien ouvre la fenêtre et regarde la mer."


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "cp1252", "mac_roman"])
def test_txt_utf16_and_txt_cp1252_are_written_as_utf_8(
    tmp_path: Path, encoding: str, newline: str
) -> None:
    source = ENCODED.replace("\n", newline)
    out = written(tmp_path, source.encode(encoding), ENCODED.split("\n\n"))
    assert out.decode() == source


def test_what_is_no_document_is_refused_in_one_line(tmp_path: Path) -> None:
    check_refusal(tmp_path / "none.txt", "no such file")
    (tmp_path / "folder.txt").mkdir()
    check_refusal(tmp_path / "folder.txt", "a directory")
    check_refusal(tmp_path / "book.pdf", "unknown format .pdf", ".txt, .md, ", ", .vtt, .ass, .ssa")
    check_refusal(tmp_path / "book", "unknown format (no suffix)")
    (tmp_path / "BOOK.TXT").write_text("Un")
    assert list(read_document(tmp_path / "BOOK.TXT").paragraphs) == ["Un"]


def test_libraries_are_loaded_when_a_document_of_their_format_is_opened(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from templora_edge.documents import read_document
for name in sys.argv[1:]:
    read_document(Path(name))
    print(*{module.partition(".")[0] for module in sys.modules})
"""
    names = []
    for name in ("a.txt", "a.srt", "a.md"):
        (tmp_path / name).write_text("00:00:01,000 --> 00:00:02,000\nUn chat\n")
        names.append(str(tmp_path / name))
    command = [sys.executable, "-c", script, *names]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    text, srt, markdown = (set(line.split()) for line in output.splitlines())
    libraries = {"lxml", "docx", "markdown_it", "mdit_py_plugins", "pysubs2", "zipfile"}
    assert not libraries & (text | srt)
    assert libraries & markdown == {"lxml", "markdown_it", "mdit_py_plugins"}


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"cannot be read \(Is a directory\)"):
        TextDocument(tmp_path)


def check_refusal(path: Path, *words: str) -> None:
    with pytest.raises(DocumentError) as error:
        read_document(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for word in words:
        assert word in message
