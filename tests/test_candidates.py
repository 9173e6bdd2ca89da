"""Candidates of predictions: what is among them, joining and slicing."""

import pickle

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from templora_edge.candidates import WITHIN, Candidates

Row = tuple[list[int], float]

ROWS = st.lists(
    st.tuples(st.lists(st.integers(0, 99), max_size=5), st.floats(-9, 9, width=32)), min_size=1
)


def rows_of(candidates: Candidates) -> list[Row]:
    """The rows one by one, the slow way."""
    bounds = zip(candidates.starts[:-1], candidates.starts[1:], strict=True)
    ids = [candidates.ids[begin:end].tolist() for begin, end in bounds]
    return list(zip(ids, candidates.rest.tolist(), strict=True))


def one(ids: list[int], rest: float) -> Candidates:
    return Candidates(
        np.array(ids, np.int32), np.array([0, len(ids)], np.int64), np.array([rest], np.float32)
    )


def random_logits(n_vocab: int = 1000) -> npt.NDArray[np.float32]:
    return (np.random.default_rng(0).standard_normal(n_vocab) * 5).astype(np.float32)


@pytest.mark.parametrize("shift", [0.0, -300.0, 300.0])
def test_every_id_is_a_candidate_or_in_the_rest(shift: float) -> None:
    logits = random_logits() + np.float32(shift)
    row = Candidates.of(logits)
    near = [i for i, logit in enumerate(logits) if logit >= logits.max() - WITHIN]
    assert 0 < len(near) < len(logits)
    assert row.ids.tolist() == near
    own, far = (part.astype(np.float64) for part in (logits[near], np.delete(logits, near)))
    share = np.logaddexp.reduce(far) - np.logaddexp.reduce(own)
    assert row.rest[0] == pytest.approx(share, rel=1e-4)
    dtypes = [array.dtype.name for array in (row.ids, row.starts, row.rest)]
    assert dtypes == ["int32", "int64", "float32"]


def test_logits_stay_as_they_are() -> None:
    logits = random_logits()
    Candidates.of(logits)
    np.testing.assert_array_equal(logits, random_logits())


def test_no_rest() -> None:
    row = Candidates.of(np.linspace(0, WITHIN / 2, 10, dtype=np.float32))
    assert rows_of(row) == [(list(range(10)), -np.inf)]


@given(ROWS, st.data())
def test_joining_and_slicing_are_those_of_lists(rows: list[Row], data: st.DataObject) -> None:
    singles = [one(ids, rest) for ids, rest in rows]
    joined = Candidates.join(singles)
    assert len(joined) == len(rows)
    assert rows_of(joined) == rows
    begin, end = (data.draw(st.none() | st.integers(-9, 9)) for _ in range(2))
    part = joined[begin:end]
    assert rows_of(part) == rows[begin:end]
    assert rows_of(Candidates.join([joined, part])) == rows + rows[begin:end]
    assert rows_of(pickle.loads(pickle.dumps(part))) == rows[begin:end]


def test_rows_are_consecutive() -> None:
    with pytest.raises(ValueError, match="step of 2"):
        Candidates.join([one([1], 0.0)] * 3)[::2]


def test_a_slice_is_pickled_without_the_rest() -> None:
    many = Candidates.join([one(list(range(1000)), 0.0)] * 100)
    assert len(pickle.dumps(many[7:8])) < len(pickle.dumps(many)) / 50
