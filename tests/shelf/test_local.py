"""Shelves on this machine."""

import json
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from small_books import five_books, segments, single, text_book
from texts import FRENCH
from warm import Forked

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.errors import OptionError
from templora_edge.host import memory
from templora_edge.shelf import attempt, local
from templora_edge.shelf.book import Book, Work, out_of
from templora_edge.shelf.local import Local, Share
from templora_edge.shelf.shelf import Row, Shelf, State


@pytest.fixture
def books(tmp_path: Path) -> list[Book]:
    return five_books(tmp_path)


@pytest.fixture(autouse=True)
def forked_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the commands of books in forks, which need not load the libraries again."""
    monkeypatch.setattr(attempt, "LEASHED", tuple(Forked("templora_edge.shelf.leash")))


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "TICK_SECONDS", 0.05)


def worked(books: list[Book], n_books: int = 2) -> dict[str, Row]:
    """The rows of ``books`` by name, once all are worked on."""
    with Local(Share(n_books, 1)) as crew:
        shelf = Shelf(books, crew)
        for _ in shelf:
            pass
    return {row.book.name: row for row in shelf.rows.values()}


def test_a_book_that_fails_stops_itself_alone(books: list[Book], tmp_path: Path) -> None:
    bad = replace(books[0], source=tmp_path / "bad.epub", out=tmp_path / "out" / "bad.epub")
    bad.source.write_bytes(b"PK\x03\x04 no archive")
    taken = replace(books[4])
    taken.out.write_text("somebody's own file")
    rows = worked([bad, *books[2:]])
    states = {name: row.state for name, row in rows.items()}
    assert states == {
        "bad.epub": State.FAILED,
        "short.txt": State.DONE,
        "brief.txt": State.DONE,
        "line.txt": State.FAILED,
    }
    assert "bad.epub" in rows["bad.epub"].reason
    assert "exists" in rows["line.txt"].reason
    assert taken.out.read_text() == "somebody's own file"
    for book in books[2:4]:
        assert book.out.read_bytes() == single(book, tmp_path / f"single-{book.name}")
        assert rows[book.name].standing.share == 1
        assert rows[book.name].standing.tokens == sum(row.tokens for row in segments(book))
    # again, nothing is left to do, so no process begins
    assert worked(books[2:4])["short.txt"].worker == ""


def test_what_was_stopped_goes_on_with_the_bytes_of_one_run(
    books: list[Book], tmp_path: Path
) -> None:
    book = books[0]
    with Local(Share(1, 1)) as crew:
        for row in Shelf([book], crew):
            if 0 < row.standing.share < 1 and row.standing.mark:
                break
        children = psutil.Process().children(recursive=True)
    assert not [one for one in children if one.is_running() and "leash" in str(one.cmdline())]
    before = [row for row in segments(book) if row.translation is not None]
    assert 0 < len(before) < len(segments(book))
    shelf = worked([book])
    assert shelf[book.name].state is State.DONE
    after = {row.id: row for row in segments(book)}
    assert [after[row.id].seconds for row in before] == [row.seconds for row in before]
    assert book.out.read_bytes() == single(book, tmp_path / "single.txt")


def series_of(folder: Path, names: tuple[str, ...]) -> Path:
    lines = ['source_language = "fr"', 'target_language = "en"']
    for number, name in enumerate(names):
        text = "\n\n".join(FRENCH[number : number + 2]) + "\n"
        (folder / name).write_text(text, encoding="utf-8")
        lines += ["[[volume]]", f'source = "{name}"', f'out = "en-{name}"']
    path = folder / "series.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def volumes(path: Path, names: tuple[str, ...]) -> list[Book]:
    made = text_book(path.parent / "any.txt", 1, path.parent)
    return [
        replace(made, source=path.parent / name, out=path.parent / f"en-{name}", series=path)
        for name in names
    ]


def test_volumes_follow_one_another_and_others_run_beside_them(
    books: list[Book], tmp_path: Path
) -> None:
    names = ("un.txt", "deux.txt")
    first, second = volumes(series_of(tmp_path, names), names)
    running: set[str] = set()
    together: set[frozenset[str]] = set()
    with Local(Share(2, 1)) as crew:
        shelf = Shelf([first, second, books[2]], crew)
        for row in shelf:
            (running.add if row.state is State.RUNNING else running.discard)(row.book.name)
            together.add(frozenset(running))
    assert {row.state for row in shelf.rows.values()} == {State.DONE}
    assert not any({"un.txt", "deux.txt"} <= names for names in together)
    assert any("short.txt" in names and len(names) == 2 for names in together)


def test_a_volume_that_fails_stops_those_after_it(tmp_path: Path) -> None:
    names = ("un.txt", "deux.txt", "trois.txt")
    path = series_of(tmp_path, names)
    (tmp_path / "deux.txt").write_bytes(b"")
    rows = worked(volumes(path, names))
    assert [rows[name].state for name in names] == [State.DONE, State.FAILED, State.FAILED]
    assert rows["trois.txt"].reason == "deux.txt, the volume before it, failed"


def test_texts_are_absorbed_and_scored(tmp_path: Path) -> None:
    source = tmp_path / "novel.txt"
    source.write_text("The rain fell in torrents over the old town and the sea. " * 16)
    flags = ("-c", "128", "--block", "32", "--rank", "4", "--seed", "1")
    out = tmp_path / "out"
    out.mkdir()
    books = [
        Book(work, source, out_of(work, source, out), BUNDLED_MODEL, flags, None, 1)
        for work in (Work.ABSORB, Work.PERPLEXITY)
    ]
    for book in books:
        row = worked([book])[book.name]
        assert row.state is State.DONE, row.reason
        assert book.is_done
        assert row.standing.share == 1
    assert books[0].out.name == "novel.txt.adapter.gguf"
    assert books[0].out.read_bytes()[:4] == b"GGUF"
    assert json.loads(books[1].out.read_text())["total"]["tokens"] > 100


def test_the_source_itself_is_never_written(books: list[Book]) -> None:
    book = replace(books[4], out=books[4].source)
    with Local(Share(1, 1)) as crew, pytest.raises(OptionError, match="is the source itself"):
        crew.begin(book)


@pytest.mark.parametrize(
    ("n_books", "threads", "cores", "gib", "expected"),
    [
        (500, 0, 8, 16, Share(8, 1)),  # one thread each
        (500, 0, 8, 5, Share(4, 2)),  # as many as memory allows
        (2, 0, 8, 16, Share(2, 4)),  # the cores are divided
        (500, 4, 8, 16, Share(2, 4)),  # as the user says
        (500, 0, 8, 0.5, Share(1, 8)),  # one is always tried: it says itself what does not fit
    ],
)
def test_how_books_share_a_machine(
    n_books: int,
    threads: int,
    cores: int,
    gib: float,
    expected: Share,
    books: list[Book],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "default_threads", lambda: cores)
    monkeypatch.setattr(memory, "available", lambda: int(gib * 2**30))
    assert Share.of([replace(books[0], n_threads=threads)] * n_books, 2**30, 2**28) == expected
