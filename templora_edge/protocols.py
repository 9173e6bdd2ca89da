"""The seams: what the loops need of an engine, of a tokenizer, and of a trainer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from templora_edge.options import SamplingOptions


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


class PairEngine(Engine, Protocol):
    """What translation needs of an engine, besides."""

    def truncate(self, n_tokens: int) -> None:
        """Forget all but the first ``n_tokens``, or more than that; `n_past` says what is left."""
        ...

    def use_sampling(self, options: SamplingOptions) -> None:
        """Sample with ``options`` from now on, with no token written yet."""
        ...


class Tokenizer(Protocol):
    """Text to tokens and back."""

    @property
    def head(self) -> tuple[int, ...]:
        """What every context and every training sequence begins with: BOS, or nothing."""
        ...

    def tokenize(self, text: str) -> list[int]:
        """Tokens of ``text``, without BOS."""
        ...

    def quote(self, text: str) -> str:
        """``text`` for a template, in which control tokens stay text."""
        ...

    def tokenize_prompt(self, prompt: str) -> list[int]:
        """Tokens of a template's output, without BOS; control tokens are read, unless quoted."""
        ...

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Text of ``tokens``."""
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
        self, prefix: Sequence[int], block: Sequence[int], loss_mask: Sequence[bool] | None = None
    ) -> Update:
        """Train on ``block`` with ``prefix`` before it as context, without loss.

        A call that an exception interrupted may be made again, as the next one, and teaches the
        block once.

        Args:
            loss_mask: which tokens of ``block`` have a loss, at least one; all if None.
        """
        ...

    def export(self) -> Path:
        """Write the adapter as it is now to a new GGUF file, the caller's to delete."""
        ...

    def save(self, path: Path) -> None:
        """Write all that training depends on."""
        ...

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote."""
        ...
