"""The two seams of the loop: what it needs of an engine, and of a trainer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Engine(Protocol):
    """What the loop needs of a language model with a KV cache."""

    @property
    def n_past(self) -> int:
        """Tokens in the KV cache."""
        ...

    def decode(self, tokens: Sequence[int]) -> None:
        """Append ``tokens`` to the cache."""
        ...

    def sample(self) -> int:
        """Choose the token that follows the last decoded one."""
        ...

    def score(self, pending: Sequence[int], tokens: Sequence[int]) -> list[float]:
        """Decode ``pending`` and all of ``tokens`` but the last; NLL of each of ``tokens``."""
        ...

    def is_end(self, token: int) -> bool:
        """Whether ``token`` ends generation."""
        ...

    def clear(self) -> None:
        """Empty the KV cache."""
        ...

    def shift(self, keep: int, discard: int) -> None:
        """Drop ``discard`` tokens after the first ``keep`` and move the later ones down."""
        ...

    def swap(self, adapter: Path | None) -> None:
        """Use the adapter in the file from the next decode on. The KV cache stays."""
        ...


@dataclass(frozen=True, slots=True)
class Update:
    """What training on one block did. Losses are the block's, in nats per token.

    A loss is None if it is not a finite number, the one after training also if it was not measured.
    """

    loss_before: float | None
    loss_after: float | None
    rss_bytes: int = 0
    """Resident memory of the training process, if it is one of its own."""
    skipped: int = 0
    """Steps that were left out because the loss or its gradient was not a finite number."""


class Trainer(Protocol):
    """What the loop needs of the side that trains the adapter."""

    def train(
        self, prefix: Sequence[int], block: Sequence[int], learned: Sequence[bool] | None = None
    ) -> Update:
        """Train on ``block`` with ``prefix`` before it as context, without loss.

        A call that an exception interrupted may be made again, as the next one, and teaches the
        block once.

        Args:
            learned: which tokens of ``block`` have a loss, at least one; all if None.
        """
        ...

    def export(self) -> Path:
        """Write the adapter as it is now to a new GGUF file, the caller's to delete."""
        ...
