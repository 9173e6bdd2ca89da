"""Windows and metrics against slow references."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from templora_edge import windows
from templora_edge.models.families import rope_row_order
from templora_edge.score import Score


@given(st.integers(0, 50), st.integers(0, 200), st.integers(1, 60))
def test_cut_covers_every_position_once(start: int, length: int, block_len: int) -> None:
    blocks = list(windows.cut(start, start + length, block_len))
    assert [i for block in blocks for i in block] == list(range(start, start + length))
    assert all(len(block) == block_len for block in blocks[:-1])


@given(st.integers(0, 100), st.integers(1, 50), st.integers(0, 100))
def test_train_prefix_is_just_before_the_block(begin: int, length: int, wanted: int) -> None:
    prefix = windows.train_prefix(range(begin, begin + length), wanted)
    assert list(prefix) == [i for i in range(begin) if i >= begin - wanted]


@given(st.lists(st.lists(st.floats(0, 20), max_size=8), max_size=8))
def test_score_is_its_definition(blocks: list[list[float]]) -> None:
    score = Score.of(blocks)
    flat = [nll for block in blocks for nll in block]
    if not flat:
        assert score.ppl == 1.0
        return
    assert score.ppl == pytest.approx(math.exp(sum(flat) / len(flat)))
    repeated = [math.exp(sum(block) / len(block)) for block in blocks for _ in block]
    assert score.ppl_block_mean == pytest.approx(sum(repeated) / len(repeated))


def test_the_two_perplexities_differ() -> None:
    score = Score.of([[0.0, 0.0], [2.0]])
    assert score.ppl == pytest.approx(math.exp(2 / 3))
    assert score.ppl_block_mean == pytest.approx((2 + math.exp(2)) / 3)


@given(st.integers(1, 6), st.integers(1, 8))
def test_rope_row_order_interleaves_the_halves(n_heads: int, half: int) -> None:
    n_rows = n_heads * 2 * half
    expected = [
        head * 2 * half + part * half + i
        for head in range(n_heads)
        for i in range(half)
        for part in (0, 1)
    ]
    order = rope_row_order(n_rows, n_heads)
    assert order.tolist() == expected
    assert np.argsort(order)[order].tolist() == list(range(n_rows))
