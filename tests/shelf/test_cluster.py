"""Shelves on the workers of a Dask scheduler, which are killed for real."""

import logging
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from command import SMALL_JOB, run
from dask_processes import DaskProcesses
from distributed import Client
from small_books import five_books, segments, single
from warm import Forked

from templora_edge.errors import ClusterError
from templora_edge.shelf import attempt, cluster
from templora_edge.shelf.book import Book
from templora_edge.shelf.cluster import Cluster
from templora_edge.shelf.shelf import Row, Shelf, State
from templora_edge.translation.store.segment_row import SegmentRow

NEED = 2**30


@pytest.fixture
def books(tmp_path: Path) -> list[Book]:
    return five_books(tmp_path)


@pytest.fixture(autouse=True)
def forked_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the commands of books in forks, which need not load the libraries again."""
    monkeypatch.setattr(attempt, "LEASHED", tuple(Forked("templora_edge.shelf.leash")))


@pytest.fixture(autouse=True)
def is_quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(cluster, "TICK_SECONDS", 0.2)
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 2)
    level = logging.getLogger("distributed").level
    yield
    logging.getLogger("distributed").setLevel(level)


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[DaskProcesses]:
    folder = tmp_path / "dask"
    folder.mkdir()
    with DaskProcesses(folder) as processes:
        yield processes


def is_on_its_way(row: Row) -> bool:
    """Whether a block of the book has come back, and something is left to do."""
    return row.state is State.RUNNING and row.standing.mark > 0 and row.standing.share < 1


def work_until_killed(book: Book, address: str, scheduler: "subprocess.Popen[bytes]") -> None:
    """Work on ``book``; once some of it has come back, kill the scheduler."""
    with Cluster(address, NEED) as crew:
        for row in Shelf([book], crew):
            if is_on_its_way(row):
                scheduler.kill()


def test_no_scheduler(books: list[Book]) -> None:
    with pytest.raises(ClusterError, match=r"--scheduler tcp://127\.0\.0\.1:9: no Dask scheduler"):
        Cluster("tcp://127.0.0.1:9", NEED)
    assert not books[0].out.exists()


@pytest.mark.slow
def test_a_killed_worker_costs_a_block(
    books: list[Book], dask: DaskProcesses, tmp_path: Path
) -> None:
    _, address = dask.scheduler()
    processes = [dask.worker(address) for _ in range(3)]
    killed: Row | None = None
    kept: list[SegmentRow] = []
    with Cluster(address, NEED) as crew, Client(address, set_as_default=False) as client:
        pids = {pid: worker for worker, pid in client.run(os.getpid).items()}
        workers = {pids[process.pid]: process for process in processes}
        shelf = Shelf(books, crew)
        for row in shelf:
            if killed is None and is_on_its_way(row):
                killed = row
                workers[row.worker].kill()
                kept = [one for one in segments(row.book) if one.learned]
                dask.worker(address)
    assert killed is not None
    rows = {row.book: row for row in shelf.rows.values()}
    assert {row.state for row in rows.values()} == {State.DONE}, rows
    lost = rows[killed.book]
    assert lost.losses == 1
    assert lost.worker != killed.worker
    for book in books:
        assert book.out.read_bytes() == single(book, tmp_path / f"single-{book.name}")
        done = segments(book)
        assert len({one.id for one in done}) == len({one.position for one in done}) == len(done)
    # what came back was not translated again: its times are still those of the first worker
    again = {one.id: one for one in segments(killed.book)}
    assert kept
    assert [again[one.id].seconds for one in kept] == [one.seconds for one in kept]
    assert lost.book.is_done


@pytest.mark.slow
def test_a_scheduler_that_dies_is_one_line_and_another_goes_on(
    books: list[Book], dask: DaskProcesses, tmp_path: Path
) -> None:
    process, address = dask.scheduler()
    dask.worker(address)
    book = books[0]
    with pytest.raises(ClusterError, match=r"the scheduler is gone; .* the same command goes on"):
        work_until_killed(book, address, process)
    before = [one for one in segments(book) if one.translation is not None]
    assert 0 < len(before) < len(segments(book))
    _, address = dask.scheduler()
    dask.worker(address)
    with Cluster(address, NEED) as crew:
        shelf = Shelf([book], crew)
        for _ in shelf:
            pass
    assert shelf.rows[book].state is State.DONE, shelf.rows[book]
    after = {one.id: one for one in segments(book)}
    assert [after[one.id].seconds for one in before] == [one.seconds for one in before]
    assert book.out.read_bytes() == single(book, tmp_path / "single.txt")


@pytest.mark.slow
def test_a_worker_is_sent_a_model_that_it_lacks(
    books: list[Book], dask: DaskProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cluster, "PART_BYTES", 3 << 20)
    model = tmp_path / "own.gguf"
    content = bytearray(books[4].model.read_bytes())
    model.write_bytes(bytes(content) + b"\0" * 64)  # another digest, the same tensors
    book, bad = replace(books[4], model=model), replace(books[3], source=tmp_path / "none.txt")
    _, address = dask.scheduler()
    with DaskProcesses(tmp_path / "dask") as own:
        own.worker(address)
        with Cluster(address, NEED) as crew:
            shelf = Shelf([book, bad], crew)
            for _ in shelf:
                pass
    assert shelf.rows[book].state is State.DONE, shelf.rows[book]
    assert shelf.rows[bad].state is State.FAILED
    assert "none.txt" in shelf.rows[bad].reason
    [sent] = (tmp_path / "cache").rglob("*.gguf")
    assert sent.read_bytes() == model.read_bytes()


@pytest.mark.slow
def test_the_command_says_in_one_line_that_no_scheduler_answers(books: list[Book]) -> None:
    command = ["shelf", books[4].source, "-O", books[4].out.parent, *SMALL_JOB]
    result = run(*command, "--scheduler", "tcp://127.0.0.1:9")
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("templora: --scheduler tcp://127.0.0.1:9: no Dask scheduler answers")
