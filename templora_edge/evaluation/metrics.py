"""Comparison of two scores of the same tokens, with its standard error."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from templora_edge.score import Score


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scores of the same tokens with the base alone and with Temp-LoRA, block by block."""

    base: Score
    templora: Score

    @property
    def change_percent(self) -> float | None:
        """Change of `Score.ppl` in percent; negative is an improvement. None without tokens."""
        if not self.base.n_tokens:
            return None
        return 100 * math.expm1(self._mean_difference)

    @property
    def change_percent_se(self) -> float | None:
        """Standard error of `change_percent`, from the paired differences of blocks.

        The units are blocks, not tokens, because errors of neighbouring tokens are correlated: the
        standard error of a ratio of sums over clusters, propagated through exp by its derivative.
        None for fewer than two blocks.
        """
        sizes = self.base.tokens
        n_blocks = sum(size > 0 for size in sizes)
        if n_blocks < 2:
            return None
        mean = self._mean_difference
        deviations = (
            theirs - ours - size * mean
            for ours, theirs, size in zip(self.base.nll, self.templora.nll, sizes, strict=True)
        )
        variance = sum(d**2 for d in deviations) * n_blocks / (n_blocks - 1)
        return 100 * math.exp(mean) * math.sqrt(variance) / self.base.n_tokens

    @property
    def _mean_difference(self) -> float:
        return (sum(self.templora.nll) - sum(self.base.nll)) / self.base.n_tokens

    def __add__(self, other: "Comparison") -> "Comparison":
        return Comparison(self.base + other.base, self.templora + other.templora)


def between(blocks: Iterable[Sequence[float]], begin: int, end: int) -> list[Sequence[float]]:
    """The values in ``blocks`` at token positions in ``[begin, end)``, still block by block."""
    parts, position = [], 0
    for block in blocks:
        part = block[max(0, begin - position) : max(0, end - position)]
        if part:
            parts.append(part)
        position += len(block)
    return parts
