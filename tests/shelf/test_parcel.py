"""Jobs as bytes: consistent while they are written, and put back whole or not at all."""

import threading
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from small_books import text_book

from templora_edge.errors import OutputError
from templora_edge.host.files import replacing
from templora_edge.job_store.folder import DATABASE, folder_of, locked
from templora_edge.options import Options
from templora_edge.shelf import parcel
from templora_edge.shelf.book import Book, Input
from templora_edge.shelf.parcel import OUT, Parcel, packed, packed_job, series_of, take_back
from templora_edge.translation.job.series import Series, Start
from templora_edge.translation.store.segment_row import Origin
from templora_edge.translation.store.store import Learned, Store

ROUNDS = 150


@pytest.fixture
def book(tmp_path: Path) -> Book:
    out = tmp_path / "out"
    out.mkdir()
    return text_book(tmp_path / "roman.txt", 3, out)


def begun(folder: Path, n_segments: int) -> None:
    """A job of ``n_segments``, of which none is translated."""
    with Store(folder) as store:
        store.begin({"n_threads": 1}, [(n, f"source {n}") for n in range(n_segments)])


def work(folder: Path, first: int, last: int) -> None:
    """Finish a segment and a block at a time, as a translation does it."""
    with Store(folder) as store:
        rows = store.segments()
        for n in range(first, last):
            row = replace(rows[n], translation=f"target {n}", origin=Origin.MODEL, seconds=n / 7)
            store.finish_segment(row)
            name = f"training-0-{n + 1}.pt"
            (folder / name).write_bytes(f"state {n + 1}".encode() * 1000)
            store.set_learned(Learned(name, 0, n + 1), [row])


def check(folder: Path) -> int:
    """Check that a job has what its state says; the number of its blocks."""
    with Store(folder, read_only=True) as store:
        learned, rows = store.learned, store.segments()
    done = [row for row in rows if row.learned]
    assert len(done) == learned.blocks
    assert all(row.translation == f"target {n}" for n, row in enumerate(done))
    states = list(folder.glob("training-*"))
    if learned.blocks:
        assert [path.name for path in states] == [learned.state]
        assert states[0].read_bytes() == f"state {learned.blocks}".encode() * 1000
    return learned.blocks


def test_every_copy_of_a_job_that_is_written_is_a_job(tmp_path: Path) -> None:
    folder = tmp_path / "a.txt.job"
    begun(folder, ROUNDS)
    writer = threading.Thread(target=work, args=(folder, 0, ROUNDS))
    writer.start()
    seen: list[int] = []
    while writer.is_alive():
        copy = tmp_path / f"copy-{len(seen)}"
        parcel.unpack_job(packed_job(folder), copy)
        seen.append(check(copy))
    writer.join()
    assert seen == sorted(seen)
    assert len(set(seen)) > 3, "never copied while it was written: an empty test"


def test_what_comes_back_takes_the_place_of_what_was_there(book: Book, tmp_path: Path) -> None:
    away, folder = tmp_path / "away", folder_of(book.out)
    begun(folder, 9)
    work(folder, 0, 2)
    sent = packed(book)
    assert set(sent.job) == {DATABASE, "training-0-2.pt"}
    assert sent.inputs == {"0/roman.txt": book.source.read_bytes()}
    parcel.unpack_job(sent.job, away)
    work(away, 2, 5)
    with locked(folder):
        take_back(book, packed_job(away), {})
    assert check(folder) == 5
    work(away, 5, 9)
    with locked(folder):
        take_back(book, packed_job(away), {"roman.txt": b"whole", "roman.txt.adapter.gguf": b"x"})
    assert check(folder) == 9
    assert book.out.read_bytes() == b"whole"
    assert book.out.with_name("roman.txt.adapter.gguf").read_bytes() == b"x"
    with Store(folder, read_only=True) as store:
        assert store.get("source") == str(book.source.absolute())
        assert {str(book.out), f"{book.out}.adapter.gguf"} <= set(store.written)


def test_a_failure_while_it_comes_back_leaves_the_job_of_before(
    book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, folder = tmp_path / "away", folder_of(book.out)
    begun(folder, 4)
    work(folder, 0, 2)
    parcel.unpack_job(packed(book).job, away)
    work(away, 2, 4)

    def full(path: Path, flag: str) -> AbstractContextManager[Path]:
        if path == folder / DATABASE:
            raise OutputError("no room")
        return replacing(path, flag)

    monkeypatch.setattr("templora_edge.shelf.parcel.replacing", full)
    with locked(folder), pytest.raises(OutputError):
        take_back(book, packed_job(away), {})
    (folder / "training-0-4.pt").unlink()  # not named by the database
    assert check(folder) == 2


def test_files_of_flags_travel_too(book: Book, tmp_path: Path) -> None:
    terms, style = tmp_path / "terms.csv", tmp_path / "style.gguf"
    terms.write_text("marin,mariner\n")
    style.write_bytes(b"GGUF")
    flags = ("--glossary", Input(terms), "--lora", Input(style, ":0.5"))
    book = replace(book, arguments=flags)
    sent = packed(book)
    assert set(sent.inputs) == {"0/roman.txt", "1/terms.csv", "2/style.gguf"}
    there = Path("/there")
    command = book.command(
        3,
        out=there / OUT / "roman.txt",
        model=there / "m.gguf",
        series=None,
        place=lambda path: there / parcel.place(book, path),
    )
    assert command == [
        *("translate", "/there/0/roman.txt", "-o", "/there/out/roman.txt", "-m", "/there/m.gguf"),
        *("-t", "3", "--glossary", "/there/1/terms.csv", "--lora", "/there/2/style.gguf:0.5"),
    ]


def test_a_volume_finds_those_before_it_on_another_machine(book: Book, tmp_path: Path) -> None:
    (tmp_path / "terms.csv").write_text("marin,mariner\n")
    path = tmp_path / "tomes.toml"
    path.write_text(
        'source_language = "fr"\ntarget_language = "en"\nglossary = "terms.csv"\n'
        '[names]\n"Kéradec \\"l\'Ancien\\" \U0001f600" = "Keradec"\n'
        '[[volume]]\nsource = "un.txt"\nout = "out/one.txt"\n'
        '[[volume]]\nsource = "roman.txt"\nout = "out/roman.txt"\n',
        encoding="utf-8",
    )
    earlier = folder_of(tmp_path / "out" / "one.txt")
    begun(earlier, 2)
    work(earlier, 0, 2)
    with Store(earlier) as store:
        rows = [replace(row, attempts=1) for row in store.segments()]
        store.finish_segment(*rows)
        store.finish()
    (tmp_path / "out" / "one.txt.adapter.gguf").write_bytes(b"GGUF")
    book = replace(book, series=path)
    there = tmp_path / "there"
    unpacked(packed(book), there)
    open_start = Start(None, None, None, None, Options(), None, None)
    here = Series.read(path).start(book.source, open_start)
    away = Series.read(series_of(there)).start(there / "0" / "roman.txt", open_start)
    assert away.names == here.names
    assert away.earlier == here.earlier
    assert len(away.earlier) == 2
    assert away.out == there / OUT / "roman.txt"
    assert away.glossary is not None
    assert away.glossary.read_bytes() == (tmp_path / "terms.csv").read_bytes()
    assert (away.source_language, away.target_language) == ("fr", "en")


def unpacked(sent: Parcel, folder: Path) -> None:
    for name, content in sent.inputs.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
