"""The ids that hold the probability of a prediction, from llama.cpp's logits.

A gradient of the output layer needs every row of the vocabulary, but almost all of it comes from
the few rows that llama.cpp found probable when it read or wrote the text. What all others pull at
together is small for each prediction but the same for all: it adds up, so they are sampled.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

WITHIN: Final = 6.0
"""Nats below a prediction's largest logit down to which an id is a candidate (docs/log.md)."""
MOST: Final = 128
"""Candidates of a prediction at most: the likeliest ones."""
SAMPLES: Final = 16
"""Other ids that are sampled for each prediction."""
_LEAST: Final = math.exp(-WITHIN)
_PARTS: Final = (np.arange(SAMPLES) + 0.5) / SAMPLES
_STRETCH: Final = 256
"""Consecutive ids whose mass is summed first: one long cumulative sum takes ten times as long."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Candidates of n predictions, one row each."""

    ids: npt.NDArray[np.int32]
    """Ids of all rows, (m,); ascending within a row."""
    starts: npt.NDArray[np.int64]
    """Where each row begins in ``ids``, and the end of the last one, (n + 1,)."""
    rest: npt.NDArray[np.float32]
    """log of the mass of all other ids of each row, in units of that of its own, (n,); -inf if
    there are none. Relative, because training may see less context than llama.cpp did."""
    samples: npt.NDArray[np.int32]
    """Ids that stand for all others of each row, (n, SAMPLES), each for the same part of their
    mass; an id that holds more of it is there more than once."""

    @classmethod
    def of(cls, logits: npt.NDArray[np.float32]) -> "Candidates":
        """The row of one prediction; logits (n_vocab,)."""
        mass = logits - logits.max()
        np.exp(mass, out=mass)  # in place: fresh pages of a large vocabulary cost as much as exp
        ids = np.flatnonzero(mass >= _LEAST)
        if len(ids) > MOST:
            ids = np.sort(ids[np.argpartition(mass[ids], -MOST)[-MOST:]])
        own = float(mass[ids].sum())
        mass[ids] = 0
        sums = np.add.reduceat(mass, np.arange(0, len(mass), _STRETCH)).cumsum()
        others = float(sums[-1])
        samples = [_at(place, mass, sums) for place in others * _PARTS]
        return cls(
            ids.astype(np.int32),
            np.array([0, len(ids)], np.int64),
            np.array([math.log(others / own) if others else -math.inf], np.float32),
            np.array([samples], np.int32),
        )

    @classmethod
    def join(cls, parts: Sequence["Candidates"]) -> "Candidates":
        """The rows of all ``parts``, at least one, in order."""
        counts = np.concatenate([np.diff(part.starts) for part in parts])
        return cls(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([[0], counts.cumsum()]).astype(np.int64),
            np.concatenate([part.rest for part in parts]),
            np.concatenate([part.samples for part in parts]),
        )

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rest)

    def __getitem__(self, rows: slice) -> "Candidates":
        """Consecutive rows; all but ``starts`` are views."""
        begin, end, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"rows with a step of {step}; expected consecutive rows")
        end = max(begin, end)
        starts = self.starts[begin : end + 1]
        return Candidates(
            self.ids[starts[0] : starts[-1]],
            starts - starts[0],
            self.rest[begin:end],
            self.samples[begin:end],
        )


def _at(place: float, mass: npt.NDArray[np.float32], sums: npt.NDArray[np.float32]) -> int:
    """The id at which the sum of ``mass`` so far passes ``place``; ``sums``: after each stretch.

    Ids of a like frequency are neighbours in a vocabulary: evenly spaced places sample each kind.
    """
    stretch = min(int(sums.searchsorted(place)), len(sums) - 1)
    begin = stretch * _STRETCH
    left = place - (sums[stretch - 1] if stretch else 0)
    part = mass[begin : begin + _STRETCH].cumsum()
    return begin + min(int(part.searchsorted(left)), len(part) - 1)
