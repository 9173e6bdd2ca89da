"""An engine without a model: a cache that overflows like a real one; a subclass chooses tokens."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from templora_edge.errors import EngineError
from templora_edge.protocols import Captured


class FakeEngine(ABC):
    """`Engine`, and `truncate`; the NLL of a token is its number.

    ``cells`` is the KV cache: (token, adapter that computed it) in order of position. The adapter
    in a file of name 7.gguf is number 7; 0 is none.
    """

    end: int
    """The token that ends generation."""

    def __init__(self, n_ctx: int, log: list[object] | None = None) -> None:
        self.n_ctx = n_ctx
        self.log: list[object] = [] if log is None else log
        self.cells: list[tuple[int, int]] = []
        self.adapter = self.swaps = 0
        self.conditioned_on: list[list[int]] = []
        """The cached tokens at each choice and each score."""

    @property
    def n_past(self) -> int:
        return len(self.cells)

    @property
    def cached(self) -> list[int]:
        """Tokens in the cache."""
        return [token for token, _ in self.cells]

    def decode(self, tokens: Sequence[int]) -> None:
        if self.n_past + len(tokens) > self.n_ctx:  # as Context has it
            raise EngineError(
                f"{len(tokens)} tokens after {self.n_past} overflow the context of {self.n_ctx}"
            )
        self.cells.extend((token, self.adapter) for token in tokens)

    def sample(self) -> int:
        if not self.cells:
            raise EngineError("nothing to predict from")
        self.conditioned_on.append(self.cached)
        return self.choose()

    def take(self, token: int) -> None:
        self.log.append(("taken", token))

    @abstractmethod
    def choose(self) -> int:
        """The next token."""

    def score(self, pending: Sequence[int], tokens: Sequence[int]) -> list[float]:
        if not (pending or self.cells):
            raise EngineError("nothing to predict from")
        for token in tokens:
            self.decode(pending)
            self.conditioned_on.append(self.cached)
            self.log.append(("scored", token))
            pending = [token]
        return [float(token) for token in tokens]

    def captured(self, begin: int, end: int) -> Captured | None:
        """The state of each token is its number."""
        if not 0 <= begin < end <= len(self.cells):
            return None
        states = np.array([[token] for token in self.cached[begin:end]], np.float32)
        return Captured(states)

    def is_end(self, token: int) -> bool:
        return token == self.end

    def clear(self) -> None:
        self.cells.clear()
        self.log.append("clear")

    def truncate(self, n_tokens: int) -> None:
        del self.cells[n_tokens:]

    def shift(self, keep: int, discard: int) -> None:
        del self.cells[keep : keep + discard]
        self.log.append(("shift", keep, discard))

    def swap(self, adapter: Path | None) -> None:
        self.adapter = int(adapter.stem) if adapter else 0
        self.swaps += 1
        self.log.append(("swap", self.adapter))
