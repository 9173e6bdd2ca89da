"""Predictions: what is taken for itself, what is drawn, joining and slicing."""

import pickle

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from templora_edge.predictions import MOST, SAMPLES, WITHIN, Predictions

Floats = npt.NDArray[np.float32]
Row = list[tuple[int, float]]

ROWS = st.lists(
    st.lists(st.tuples(st.integers(0, 99), st.floats(0.125, 9, width=32)), max_size=5), min_size=1
)


def rows_of(predictions: Predictions) -> list[Row]:
    """The rows one by one, the slow way."""
    pairs = list(zip(predictions.ids.tolist(), predictions.masses.tolist(), strict=True))
    bounds = zip(predictions.starts[:-1], predictions.starts[1:], strict=True)
    return [pairs[begin:end] for begin, end in bounds]


def one(row: Row) -> Predictions:
    return Predictions(
        np.array([i for i, _ in row], np.int32),
        np.array([mass for _, mass in row], np.float32),
        np.array([0, len(row)], np.int64),
    )


def random_logits(n_vocab: int = 1000, scale: float = 5.0, seed: int = 0) -> Floats:
    random = np.random.default_rng(seed)
    return (random.standard_normal(n_vocab) * scale).astype(np.float32)


def masses_of(logits: Floats) -> npt.NDArray[np.float64]:
    """Probabilities of all ids."""
    mass: npt.NDArray[np.float64] = np.exp(logits.astype(np.float64) - logits.max())
    mass /= mass.sum()
    return mass


def parts_of(row: Predictions) -> tuple[Row, Row]:
    """What is taken for itself, and what was drawn."""
    (pairs,) = rows_of(row)
    return pairs[:-SAMPLES], pairs[-SAMPLES:]


@pytest.mark.parametrize("shift", [0.0, -300.0, 300.0])
def test_likely_ids_have_their_probability_and_others_are_drawn(shift: float) -> None:
    logits = random_logits() + np.float32(shift)
    row = Predictions.of(logits)
    near = [i for i, logit in enumerate(logits) if logit >= logits.max() - WITHIN]
    assert 0 < len(near) < len(logits)
    own, drawn = parts_of(row)
    assert [i for i, _ in own] == near
    mass = masses_of(logits)
    np.testing.assert_allclose([m for _, m in own], mass[near], rtol=1e-4)
    rest = np.delete(mass, near).sum()
    np.testing.assert_allclose([m for _, m in drawn], rest / SAMPLES, rtol=1e-3)
    assert not {i for i, _ in drawn} & set(near)
    assert row.masses.sum() == pytest.approx(1, rel=1e-5)
    arrays = (row.ids, row.masses, row.starts)
    assert [array.dtype.name for array in arrays] == ["int32", "float32", "int64"]


def test_logits_stay_as_they_are() -> None:
    logits = random_logits()
    Predictions.of(logits)
    np.testing.assert_array_equal(logits, random_logits())


def test_nothing_is_left_to_draw() -> None:
    own, drawn = parts_of(Predictions.of(np.linspace(0, WITHIN / 2, 10, dtype=np.float32)))
    assert [i for i, _ in own] == list(range(10))
    assert all(0 <= i < 10 and mass == 0 for i, mass in drawn), "ids that any model has"


@pytest.mark.parametrize("n_vocab", [MOST, MOST + 1, 1000, 100_000])
def test_the_likeliest_are_taken_where_many_are_near(n_vocab: int) -> None:
    logits = random_logits(n_vocab, scale=0.3)
    assert np.ptp(logits) < WITHIN
    own, _ = parts_of(Predictions.of(logits))
    likeliest = sorted(np.argsort(-logits)[:MOST].tolist())
    assert [i for i, _ in own] == likeliest
    np.testing.assert_allclose([m for _, m in own], masses_of(logits)[likeliest], rtol=1e-4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [0.3, 2.0, 5.0])
@pytest.mark.parametrize("n_vocab", [300, 1000, 5003])
def test_what_is_drawn_against_one_plain_sum(n_vocab: int, scale: float, seed: int) -> None:
    """Of any stretch of ids, as many are drawn as its share of the rest, up to one."""
    logits = random_logits(n_vocab, scale, seed)
    own, drawn = parts_of(Predictions.of(logits))
    mass = masses_of(logits)
    mass[[i for i, _ in own]] = 0
    assert all(mass[i] > 0 for i, _ in drawn)
    share = mass.cumsum() / mass.sum()
    counts = np.bincount([i for i, _ in drawn], minlength=n_vocab).cumsum()
    assert counts[-1] == SAMPLES
    assert np.abs(counts - SAMPLES * share).max() <= 1 + 1e-3


def test_over_many_predictions_each_id_is_drawn_as_often_as_it_should_be() -> None:
    """Places on the sum differ between predictions; always the same ones would favour some ids."""
    n_vocab, n = 2000, 2000
    random = np.random.default_rng(0)
    tail = random.normal(-WITHIN - 3, 1, n_vocab).astype(np.float32)
    drawn = np.zeros(n_vocab)
    expected = np.zeros(n_vocab)
    for _ in range(n):
        logits = tail.copy()
        logits[random.integers(0, n_vocab, 3)] = 0
        own, others = parts_of(Predictions.of(logits))
        drawn += np.bincount([i for i, _ in others], minlength=n_vocab)
        mass = masses_of(logits)
        mass[[i for i, _ in own]] = 0
        expected += SAMPLES * mass / mass.sum()
    often = expected > 30
    assert often.sum() > 100
    # a Poisson process, which systematic sampling is not, would be off by 1
    errors = (drawn[often] - expected[often]) / np.sqrt(expected[often])
    assert np.sqrt((errors**2).mean()) < 1.2


def test_flat_logits() -> None:
    n_vocab = 6400
    own, drawn = parts_of(Predictions.of(np.full(n_vocab, 3.0, np.float32)))
    assert len({i for i, _ in own}) == MOST
    others = np.delete(np.arange(n_vocab), [i for i, _ in own])
    places = np.searchsorted(others, [i for i, _ in drawn])
    assert np.abs(np.diff(places) - len(others) / SAMPLES).max() <= 1


def test_an_id_that_holds_most_of_the_rest_is_drawn_each_time() -> None:
    logits = np.full(1000, -40.0, np.float32)
    logits[[10, 700]] = 0.0, -WITHIN - 1
    own, drawn = parts_of(Predictions.of(logits))
    assert [i for i, _ in own] == [10]
    assert {i for i, _ in drawn} <= {0, 700}  # at most the first place is before it
    assert [i for i, _ in drawn[1:]] == [700] * (SAMPLES - 1)


def test_the_likeliest_of_each_row() -> None:
    joined = Predictions.join([one([(3, 0.25), (7, 0.75)]), one([(9, 1.0)])])
    assert joined.ids[joined.likeliest].tolist() == [7, 9]
    assert joined.rows.tolist() == [0, 0, 1]


@given(ROWS, st.data())
def test_joining_and_slicing_are_those_of_lists(rows: list[Row], data: st.DataObject) -> None:
    singles = [one(row) for row in rows]
    joined = Predictions.join(singles)
    assert len(joined) == len(rows)
    assert rows_of(joined) == rows
    begin, end = (data.draw(st.none() | st.integers(-9, 9)) for _ in range(2))
    part = joined[begin:end]
    assert rows_of(part) == rows[begin:end]
    assert rows_of(Predictions.join([joined, part])) == rows + rows[begin:end]
    assert rows_of(pickle.loads(pickle.dumps(part))) == rows[begin:end]


def test_rows_are_consecutive() -> None:
    with pytest.raises(ValueError, match="step of 2"):
        Predictions.join([one([(1, 1.0)])] * 3)[::2]


def test_a_slice_is_pickled_without_the_rest() -> None:
    many = Predictions.join([one([(i, 0.5) for i in range(1000)])] * 100)
    assert len(pickle.dumps(many[7:8])) < len(pickle.dumps(many)) / 50
