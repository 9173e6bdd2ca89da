"""Shapes of documents that take minutes where any step takes the square of their length."""

import time
from collections.abc import Callable
from pathlib import Path

import docx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from epub_files import chapter, members, pack

from templora_edge.documents import read_document
from templora_edge.documents.markup import PLACEHOLDER
from templora_edge.translation.segmenter import assembled, segments

MOST_SECONDS = 40


def text(source: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(source)


def word(content: str) -> Callable[[Path], object]:
    def save(path: Path) -> None:
        package = docx.Document()
        package.element.body.insert(0, parse_xml(f"<w:p {nsdecls('w')}>{content}</w:p>"))
        package.save(str(path))

    return save


def book(body: str) -> Callable[[Path], object]:
    return lambda path: pack(path, members(c1=chapter(body)))


def run(words: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{words}</w:t></w:r>'


SHAPES = {
    "comments without an end.html": text("<p>un mot</p>" + "<!-- " * 50_000),
    "tags without an end.html": text("<p>un mot</p>" + "<a " * 30_000),
    "less-than signs.html": text("<p>un mot " + "< " * 30_000),
    "lines of verse.html": text("<p>" + "un mot<br>" * 8_000),
    "brackets without an end.md": text("un mot " + "![" * 20_000 + "](a)"),
    "admonitions.md": text("\n".join(f'{" " * 4 * i}!!! note "un mot"\n' for i in range(400))),
    "bookmarks.docx": word(
        "".join(
            run("un mot ")
            + f'<w:bookmarkStart w:id="{i}" w:name="a{i}"/><w:bookmarkEnd w:id="{i}"/>'
            for i in range(2_000)
        )
    ),
    "spaces of another look.docx": word((run("un") + run(" ", "<w:u/>") + run("mot")) * 2_000),
    "anchors.epub": book("<p>" + " ".join(f'<a id="x{i}"/>un mot' for i in range(3_000)) + "</p>"),
    "quotes without an end.epub": book("<p>un mot</p>" + '<a b="' * 20_000),
}


def louder(paragraph: str) -> str:
    end, whole = 0, ""
    for match in PLACEHOLDER.finditer(paragraph):
        whole += paragraph[end : match.start()].upper() + match.group()
        end = match.end()
    return whole + paragraph[end:].upper()


@pytest.mark.parametrize("name", SHAPES)
def test_long_documents_take_seconds(name: str, tmp_path: Path) -> None:
    path, out = tmp_path / name, tmp_path / f"out-{name}"
    SHAPES[name](path)
    begin = time.process_time()
    document = read_document(path, "fr")
    pieces = [segments(each, lambda piece: len(piece) < 400) for each in document.paragraphs]
    translated = [
        assembled(each, [(piece, louder(piece)) for piece in own])
        for each, own in zip(document.paragraphs, pieces, strict=True)
    ]
    assert any("UN" in each for each in translated)
    document.write(out, translated, language="en")
    assert len(read_document(out, "en").paragraphs) == len(translated)
    assert time.process_time() - begin < MOST_SECONDS
