"""The score of a text, block by block, and its perplexity."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Score:
    """Negative log-likelihood of a text, in nats, one entry a block."""

    nll: tuple[float, ...]
    tokens: tuple[int, ...]
    """Scored tokens a block. The first token of a text has nothing to be predicted from."""

    @property
    def n_tokens(self) -> int:
        """Scored tokens."""
        return sum(self.tokens)

    @property
    def ppl(self) -> float:
        """exp(total NLL / total tokens)."""
        return math.exp(sum(self.nll) / max(1, self.n_tokens))

    @property
    def ppl_block_mean(self) -> float:
        """Token-weighted mean of per-block exp(loss), the figure the paper's scripts print."""
        blocks = [(nll, n) for nll, n in zip(self.nll, self.tokens, strict=True) if n]
        total = sum(n for _, n in blocks)
        return sum(n * math.exp(nll / n) for nll, n in blocks) / max(1, total)

    @classmethod
    def of(cls, blocks: Iterable[Sequence[float]]) -> "Score":
        """From the per-token NLL of each block."""
        listed = list(blocks)
        return cls(nll=tuple(math.fsum(block) for block in listed), tokens=tuple(map(len, listed)))

    def __add__(self, other: "Score") -> "Score":
        return Score(self.nll + other.nll, self.tokens + other.tokens)
