"""Fixtures: books, and processes that need not load the libraries again."""

from pathlib import Path

import pytest
from command import SMALL_JOB
from texts import FRENCH
from warm import Forked

from templora_edge.assets import BUNDLED_TRANSLATOR
from templora_edge.shelf import attempt
from templora_edge.shelf.book import Book, Work

FLAGS = tuple(map(str, [*SMALL_JOB, "--seed", 1]))


@pytest.fixture(autouse=True)
def forked_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the commands of books in forks."""
    monkeypatch.setattr(attempt, "LEASHED", tuple(Forked("templora_edge.shelf.leash")))


def text_book(path: Path, n_paragraphs: int, out: Path) -> Book:
    """A book of ``n_paragraphs`` at ``path``, to be translated by one thread."""
    content = "\n\n".join((FRENCH * 3)[:n_paragraphs])
    path.write_text(f"{content}\n", encoding="utf-8")
    return Book(Work.TRANSLATE, path, out / path.name, BUNDLED_TRANSLATOR, FLAGS, None, 1)


@pytest.fixture
def books(tmp_path: Path) -> list[Book]:
    """Five books; the first ones are long enough to be stopped on their way."""
    sources, out = tmp_path / "in", tmp_path / "out"
    sources.mkdir()
    out.mkdir()
    lengths = {"long.txt": 10, "middle.txt": 6, "short.txt": 3, "brief.txt": 2, "line.txt": 1}
    return [text_book(sources / name, n, out) for name, n in lengths.items()]
