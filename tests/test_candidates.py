"""Candidates of predictions: what is among them, joining and slicing."""

import pickle

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from templora_edge.candidates import MOST, SAMPLES, WITHIN, Candidates

Floats = npt.NDArray[np.float32]
Row = tuple[list[int], float, list[int]]

ROWS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 99), max_size=5),
        st.floats(-9, 9, width=32),
        st.lists(st.integers(0, 99), min_size=SAMPLES, max_size=SAMPLES),
    ),
    min_size=1,
)


def rows_of(candidates: Candidates) -> list[Row]:
    """The rows one by one, the slow way."""
    bounds = zip(candidates.starts[:-1], candidates.starts[1:], strict=True)
    ids = [candidates.ids[begin:end].tolist() for begin, end in bounds]
    return list(zip(ids, candidates.rest.tolist(), candidates.samples.tolist(), strict=True))


def one(ids: list[int], rest: float, samples: list[int] | None = None) -> Candidates:
    return Candidates(
        np.array(ids, np.int32),
        np.array([0, len(ids)], np.int64),
        np.array([rest], np.float32),
        np.array([samples or [0] * SAMPLES], np.int32),
    )


def random_logits(n_vocab: int = 1000, scale: float = 5.0, seed: int = 0) -> Floats:
    random = np.random.default_rng(seed)
    return (random.standard_normal(n_vocab) * scale).astype(np.float32)


def masses(logits: Floats) -> npt.NDArray[np.float64]:
    """Probabilities of all ids."""
    mass: npt.NDArray[np.float64] = np.exp(logits.astype(np.float64) - logits.max())
    mass /= mass.sum()
    return mass


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
    arrays = (row.ids, row.starts, row.rest, row.samples)
    assert [array.dtype.name for array in arrays] == ["int32", "int64", "float32", "int32"]
    assert row.samples.shape == (1, SAMPLES)
    assert not set(row.samples[0].tolist()) & set(near), "candidates stand for themselves"


def test_logits_stay_as_they_are() -> None:
    logits = random_logits()
    Candidates.of(logits)
    np.testing.assert_array_equal(logits, random_logits())


def test_no_rest() -> None:
    row = Candidates.of(np.linspace(0, WITHIN / 2, 10, dtype=np.float32))
    ((ids, rest, samples),) = rows_of(row)
    assert (ids, rest) == (list(range(10)), -np.inf)
    assert all(0 <= sample < 10 for sample in samples), "ids that any model has"


@pytest.mark.parametrize("n_vocab", [MOST, MOST + 1, 1000])
def test_the_likeliest_are_candidates_where_many_are_near(n_vocab: int) -> None:
    logits = random_logits(n_vocab, scale=0.3)
    assert np.ptp(logits) < WITHIN
    row = Candidates.of(logits)
    likeliest = sorted(np.argsort(-logits)[:MOST].tolist())
    assert row.ids.tolist() == likeliest
    own, far = (part.astype(np.float64) for part in (logits[likeliest], np.delete(logits, row.ids)))
    share = np.logaddexp.reduce(far, initial=-np.inf) - np.logaddexp.reduce(own)
    assert row.rest[0] == pytest.approx(share, rel=1e-4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [0.3, 2.0, 5.0])
@pytest.mark.parametrize("n_vocab", [300, 1000, 5003])
def test_samples_against_one_plain_sum(n_vocab: int, scale: float, seed: int) -> None:
    """Each is where the sum of the rest passes the middle of one of `SAMPLES` equal parts."""
    logits = random_logits(n_vocab, scale, seed)
    row = Candidates.of(logits)
    mass = masses(logits)
    mass[row.ids] = 0
    mass /= mass.sum()
    sums = mass.cumsum()
    for part, sample in enumerate(row.samples[0]):
        place = (part + 0.5) / SAMPLES
        assert mass[sample] > 0
        # float32 may take a neighbour
        assert sums[sample] - mass[sample] - 1e-5 <= place <= sums[sample] + 1e-5


@pytest.mark.parametrize("scale", [0.3, 2.0, 5.0])
def test_each_sample_stands_for_an_equal_part(scale: float) -> None:
    """Of any stretch of ids, as many are sampled as its share of the mass, up to one."""
    logits = random_logits(5000, scale)
    row = Candidates.of(logits)
    mass = masses(logits)
    mass[row.ids] = 0
    share = mass.cumsum() / mass.sum()
    counts = np.bincount(row.samples[0], minlength=5000).cumsum()
    assert counts[-1] == SAMPLES
    assert np.abs(counts - SAMPLES * share).max() <= 0.5 + 1e-3


def test_flat_logits() -> None:
    """As many candidates as there may be, and samples evenly spaced among the others."""
    n_vocab = 6400
    row = Candidates.of(np.full(n_vocab, 3.0, np.float32))
    assert len(row.ids) == MOST
    assert row.ids.tolist() == sorted(set(row.ids.tolist()))
    assert row.rest[0] == pytest.approx(np.log((n_vocab - MOST) / MOST), rel=1e-5)
    samples = row.samples[0].tolist()
    assert not set(samples) & set(row.ids.tolist())
    others = np.delete(np.arange(n_vocab), row.ids)
    places = np.searchsorted(others, samples)
    expected = (np.arange(SAMPLES) + 0.5) / SAMPLES * len(others)
    assert np.abs(places - expected).max() <= 1


def test_an_id_that_holds_most_of_the_rest() -> None:
    """It is there once for each part."""
    logits = np.full(1000, -40.0, np.float32)
    logits[[10, 700]] = 0.0, -WITHIN - 1
    row = Candidates.of(logits)
    assert row.ids.tolist() == [10]
    assert row.samples[0].tolist() == [700] * SAMPLES


@given(ROWS, st.data())
def test_joining_and_slicing_are_those_of_lists(rows: list[Row], data: st.DataObject) -> None:
    singles = [one(*row) for row in rows]
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
