"""Short books, to be translated by one thread."""

from pathlib import Path

from command import SMALL_JOB, run
from texts import FRENCH

from templora_edge.assets import BUNDLED_TRANSLATOR
from templora_edge.shelf.book import Book, Work
from templora_edge.translation.store.segment_row import SegmentRow
from templora_edge.translation.store.store import Store

FLAGS = tuple(map(str, [*SMALL_JOB, "--seed", 1]))
LENGTHS = {"long.txt": 10, "middle.txt": 6, "short.txt": 3, "brief.txt": 2, "line.txt": 1}
"""Paragraphs of five books; the first ones are long enough to be stopped on their way."""


def text_book(path: Path, n_paragraphs: int, out: Path) -> Book:
    """A book of ``n_paragraphs`` at ``path``, to be translated into the folder ``out``."""
    content = "\n\n".join((FRENCH * 2)[:n_paragraphs])
    path.write_text(f"{content}\n", encoding="utf-8")
    return Book(Work.TRANSLATE, path, out / path.name, BUNDLED_TRANSLATOR, FLAGS, None, 1)


def five_books(folder: Path) -> list[Book]:
    """The books of `LENGTHS`, in folders of ``folder``."""
    sources, out = folder / "in", folder / "out"
    sources.mkdir()
    out.mkdir()
    return [text_book(sources / name, n, out) for name, n in LENGTHS.items()]


def segments(book: Book) -> list[SegmentRow]:
    """The segments of a book's job."""
    assert book.folder is not None
    with Store(book.folder, read_only=True) as store:
        return store.segments()


def single(book: Book, out: Path) -> bytes:
    """What `templora translate` alone makes of ``book``."""
    result = run("translate", book.source, "-o", out, *SMALL_JOB, "-s", 1, "-t", 1)
    assert result.returncode == 0, result.stderr
    return out.read_bytes()
