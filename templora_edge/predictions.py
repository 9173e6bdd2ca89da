"""Predictions of llama.cpp as few ids with their probabilities.

The gradient of the output layer is a mean of all rows of the vocabulary, by probability. The rows
of the likeliest ids give almost all of it. The others count too, as what they pull at adds up over
a block; so each prediction draws a few of them, which stand for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

WITHIN: Final = 6.0
"""Nats below a prediction's largest logit down to which an id is taken for itself (docs/log.md)."""
MOST: Final = 128
"""Ids of a prediction that are taken for themselves at most: the likeliest ones."""
SAMPLES: Final = 32
"""Ids that each prediction draws from all others."""
_LEAST: Final = np.exp(np.float32(-WITHIN))
_GOLDEN: Final = 0.6180339887
_STRETCH: Final = 256
"""Consecutive ids whose mass and peak are found first: a cumulative sum or a partition of all takes
ten times as long."""


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """n predictions, one row each."""

    ids: npt.NDArray[np.int32]
    """Ids of all rows, (m,): those taken for themselves, ascending, then those that were drawn; an
    id that was drawn twice is there twice."""
    masses: npt.NDArray[np.float32]
    """Their probabilities, (m,); those drawn have an equal share of what is left."""
    starts: npt.NDArray[np.int64]
    """Where each row begins in ``ids``, and the end of the last one, (n + 1,)."""

    @classmethod
    def of(cls, logits: npt.NDArray[np.float32]) -> "Predictions":
        """The row of one prediction; logits (n_vocab,)."""
        mass = logits - logits.max()
        np.exp(mass, out=mass)  # in place: fresh pages of a large vocabulary cost as much as exp
        peaks = np.maximum.reduceat(mass, np.arange(0, len(mass), _STRETCH))
        # MOST stretches have an id as likely as that, so the likeliest ids are among few
        least = np.partition(peaks, -MOST)[-MOST] if len(peaks) > MOST else 0
        ids = np.flatnonzero(mass >= max(_LEAST, least))
        if len(ids) > MOST:
            ids = np.sort(ids[np.argpartition(mass[ids], -MOST)[-MOST:]])
        own = mass[ids]
        mass[ids] = 0
        drawn, rest = _draw(mass, int(ids.sum()) * _GOLDEN % 1)
        masses = np.concatenate([own, np.full(SAMPLES, rest / SAMPLES, np.float32)])
        masses /= masses.sum()
        return cls(
            np.concatenate([ids, drawn]).astype(np.int32),
            masses,
            np.array([0, len(masses)], np.int64),
        )

    @classmethod
    def join(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """The rows of all ``parts``, at least one, in order."""
        counts = np.concatenate([np.diff(part.starts) for part in parts])
        return cls(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.masses for part in parts]),
            np.concatenate([[0], counts.cumsum()]).astype(np.int64),
        )

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """The row of each of ``ids``, (m,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @property
    def likeliest(self) -> npt.NDArray[np.int64]:
        """Where in ``ids`` the likeliest id of each row is, (n,)."""
        ends = zip(self.starts[:-1], self.starts[1:], strict=True)
        return np.array([begin + self.masses[begin:end].argmax() for begin, end in ends])

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    def __getitem__(self, rows: slice) -> "Predictions":
        """Consecutive rows; all but ``starts`` are views."""
        begin, end, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"rows with a step of {step}; expected consecutive rows")
        end = max(begin, end)
        starts = self.starts[begin : end + 1]
        part = slice(starts[0], starts[-1])
        return Predictions(self.ids[part], self.masses[part], starts - starts[0])


def _draw(mass: npt.NDArray[np.float32], offset: float) -> tuple[npt.NDArray[np.intp], float]:
    """`SAMPLES` ids in proportion to ``mass``, (n_vocab,), and its sum.

    They are evenly spaced on its cumulative sum, from ``offset`` on, a part of the distance. Ids of
    a like frequency are neighbours in a vocabulary, so each kind is drawn as often as it should be.
    """
    sums = np.add.reduceat(mass, np.arange(0, len(mass), _STRETCH)).cumsum()
    places = sums[-1] * (np.arange(SAMPLES) + offset) / SAMPLES
    stretches = np.minimum(sums.searchsorted(places), len(sums) - 1)
    left = places - np.where(stretches > 0, sums[stretches - 1], 0)
    ids = stretches[:, None] * _STRETCH + np.arange(_STRETCH)
    parts = mass.take(ids, mode="clip").cumsum(1)
    passed = (parts < left[:, None])[:, :-1].sum(1)  # by rounding it could be all
    return np.minimum(ids[:, 0] + passed, len(mass) - 1), float(sums[-1])
