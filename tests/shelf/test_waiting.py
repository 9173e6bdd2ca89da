"""The order in which books are handed out."""

import heapq

from hypothesis import given
from hypothesis import strategies as st

from templora_edge.shelf.waiting import Waiting

SIZES = {"tome1": 3, "tome2": 4, "long": 6, "short": 1}


def test_the_longest_chain_is_first_and_its_rest_waits_for_its_turn() -> None:
    waiting = Waiting([["long"], ["short"], ["tome1", "tome2"]], SIZES.__getitem__)
    assert len(waiting) == 4
    series = waiting.take()
    assert series == ["tome1", "tome2"]
    assert waiting.take() == ["long"]
    assert waiting.take(lambda book: book != "short") == ()
    waiting.add(series[1:])
    assert [waiting.take(), waiting.take()] == [["tome2"], ["short"]]
    assert not waiting
    assert waiting.take() == ()


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=40), st.integers(1, 9))
def test_the_time_is_within_grahams_bound(sizes: list[int], n_workers: int) -> None:
    waiting = Waiting([[size] for size in sizes], float)
    free = [0] * n_workers
    while chain := waiting.take():
        heapq.heapreplace(free, free[0] + chain[0])
    # of the best time, no more is known than that it is not below these
    least = max(sum(sizes) / n_workers, *sizes)
    assert max(free) * n_workers <= sum(sizes) + (n_workers - 1) * max(sizes)
    if len(sizes) <= n_workers:
        assert max(free) == least
