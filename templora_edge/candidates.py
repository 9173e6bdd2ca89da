"""The ids that hold the probability of a prediction, from llama.cpp's logits.

A gradient of the output layer needs every row of the vocabulary, but almost all of it comes from
the few rows that llama.cpp found probable when it read or wrote the text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

WITHIN: Final = 6.0
"""Nats below a prediction's largest logit down to which an id is a candidate (docs/log.md)."""


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

    @classmethod
    def of(cls, logits: npt.NDArray[np.float32]) -> "Candidates":
        """The row of one prediction; logits (n_vocab,)."""
        peak = logits.max()
        others = logits - peak
        ids = np.flatnonzero(others >= -WITHIN)
        np.exp(
            others, out=others
        )  # in place: fresh pages of a large vocabulary cost as much as exp
        own = float(others[ids].sum())
        others[ids] = 0
        mass = float(others.sum())
        rest = math.log(mass / own) if mass else -math.inf
        return cls(
            ids.astype(np.int32),
            np.array([0, len(ids)], np.int64),
            np.array([rest], np.float32),
        )

    @classmethod
    def join(cls, parts: Sequence["Candidates"]) -> "Candidates":
        """The rows of all ``parts``, at least one, in order."""
        counts = np.concatenate([np.diff(part.starts) for part in parts])
        return cls(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([[0], counts.cumsum()]).astype(np.int64),
            np.concatenate([part.rest for part in parts]),
        )

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rest)

    def __getitem__(self, rows: slice) -> "Candidates":
        """Consecutive rows; ``ids`` and ``rest`` are views."""
        begin, end, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"rows with a step of {step}; expected consecutive rows")
        end = max(begin, end)
        starts = self.starts[begin : end + 1]
        return Candidates(
            self.ids[starts[0] : starts[-1]], starts - starts[0], self.rest[begin:end]
        )
