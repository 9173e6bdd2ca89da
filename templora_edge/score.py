"""The score of a text, block by block, and its perplexity."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Score:
    """The score of a text, one entry per block."""

    nll: tuple[float, ...]
    """Negative log-likelihood of each block, in nats."""
    tokens: tuple[int, ...]
    """Number of scored tokens in each block; the first token of a text has no context."""

    @property
    def n_tokens(self) -> int:
        """Total number of scored tokens."""
        return sum(self.tokens)

    @property
    def ppl(self) -> float:
        """Perplexity: exp(total NLL / total tokens)."""
        return math.exp(sum(self.nll) / max(1, self.n_tokens))

    @property
    def ppl_block_mean(self) -> float:
        """Token-weighted mean of the blocks' exp(loss), the figure the paper's scripts print."""
        blocks = [(nll, n) for nll, n in zip(self.nll, self.tokens, strict=True) if n]
        total = sum(n for _, n in blocks)
        return sum(n * math.exp(nll / n) for nll, n in blocks) / max(1, total)

    @classmethod
    def of(cls, blocks: Iterable[Sequence[float]]) -> "Score":
        """The score of ``blocks``, each given as the NLL of its tokens."""
        listed = list(blocks)
        return cls(nll=tuple(math.fsum(block) for block in listed), tokens=tuple(map(len, listed)))

    def __add__(self, other: "Score") -> "Score":
        return Score(self.nll + other.nll, self.tokens + other.tokens)
