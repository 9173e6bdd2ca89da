"""Which workers may take a book."""

from dataclasses import replace
from pathlib import Path

import pytest
from small_books import text_book

from templora_edge.shelf.book import Book
from templora_edge.shelf.desk import Offer
from templora_edge.shelf.placement import takers, threads_of
from templora_edge.translation.store.store import Store

GIB = 2**30
LAPTOP = Offer("x86_64 A", 8, 16 * GIB, frozenset(), ())
OTHER = replace(LAPTOP, processor="x86_64 B")
PI = Offer("aarch64 C", 4, 4 * GIB, frozenset(), ())
OFFERS = {"laptop": LAPTOP, "twin": LAPTOP, "other": OTHER, "pi": PI}


@pytest.fixture
def fresh(tmp_path: Path) -> Book:
    return replace(text_book(tmp_path / "a.txt", 1, tmp_path / "out"), n_threads=0)


@pytest.fixture
def begun(fresh: Book) -> Book:
    """A book that a laptop began with 8 threads."""
    assert fresh.folder is not None
    fresh.folder.parent.mkdir()
    with Store(fresh.folder) as store:
        store.begin({"n_threads": 8}, [(0, "source")])
        store.note_processor("x86_64 A", 0)
    return fresh


def test_a_fresh_book_goes_wherever_there_is_memory(fresh: Book) -> None:
    assert takers(fresh, OFFERS, 2 * GIB, busy={"twin"}) == ["laptop", "other", "pi"]
    assert takers(fresh, OFFERS, 8 * GIB, busy=()) == ["laptop", "twin", "other"]
    assert takers(fresh, OFFERS, 32 * GIB, busy=()) == []
    assert threads_of(fresh, [LAPTOP, PI]) == 4
    assert threads_of(replace(fresh, n_threads=3), [LAPTOP, PI]) == 3


def test_a_book_stays_on_its_kind_of_processor_while_there_is_one(begun: Book) -> None:
    assert takers(begun, OFFERS, GIB, busy={"laptop"}) == ["twin"]
    assert takers(begun, OFFERS, GIB, busy={"laptop", "twin"}) == []  # it waits
    assert threads_of(begun, [LAPTOP]) == 8


def test_a_book_moves_when_no_such_processor_is_left(begun: Book) -> None:
    left = {"other": OTHER, "pi": PI}
    assert takers(begun, left, GIB, busy=()) == ["other"]  # with the cores for its threads
    assert takers(begun, {"pi": PI}, GIB, busy=()) == ["pi"]
    assert threads_of(begun, [PI]) == 4


def test_a_job_names_the_processors_that_worked_on_it(begun: Book) -> None:
    assert begun.folder is not None
    with Store(begun.folder) as store:
        store.note_processor("aarch64 C", 3)
        store.note_processor("aarch64 C", 5)
        store.note_processor("x86_64 B", 7)
        store.note_processor("aarch64 C", 7)  # nothing was done on the one before
        assert store.status()["processors"] == [
            {"name": "x86_64 A", "before": 0},
            {"name": "aarch64 C", "before": 3},
        ]
