"""The seams: what the loops need from an engine, a tokenizer and a trainer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from templora_edge.options import SamplingOptions
from templora_edge.predictions import Predictions

Floats: TypeAlias = npt.NDArray[np.float32]
BFloat16s: TypeAlias = npt.NDArray[np.uint16]
"""Bits of bfloat16, which numpy does not know."""


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """What the engine computed of n tokens, so that training need not.

    It is as computed when each token was decoded, with all that was cached before it then.
    """

    states: Floats | None
    """States that enter the first layer with an adapter, (n, width); None: they are not kept."""
    products: Mapping[str, BFloat16s] | None = None
    """Name of a weight -> its products with what the adapter in use gave it, (n, outputs), without
    bias and adapter, in bfloat16; of all weights from the first layer with an adapter on."""
    predictions: Predictions | None = None
    """The n predictions that these tokens make; None: they are not known."""

    def __getitem__(self, rows: slice) -> "Captured":
        """Consecutive tokens."""
        products = self.products
        return Captured(
            None if self.states is None else self.states[rows],
            None if products is None else {name: one[rows] for name, one in products.items()},
            None if self.predictions is None else self.predictions[rows],
        )


class Engine(Protocol):
    """A language model with a KV cache, as the loop needs it."""

    @property
    def n_past(self) -> int:
        """Number of tokens in the KV cache."""
        ...

    def decode(self, tokens: Sequence[int]) -> None:
        """Append ``tokens`` to the cache."""
        ...

    def sample(self) -> int:
        """Choose the token that follows the last decoded one."""
        ...

    def take(self, token: int) -> None:
        """Take ``token`` as the one that was chosen, as `sample` did in an earlier run."""
        ...

    def score(self, pending: Sequence[int], tokens: Sequence[int]) -> list[float]:
        """Decode ``pending`` and all of ``tokens`` but the last; return each token's NLL in nats.

        The NLLs are those of ``tokens``; ``pending`` is only context.
        """
        ...

    def captured(self, begin: int, end: int) -> Captured | None:
        """What was computed of cached tokens [begin, end) when they were decoded.

        None if nothing is kept, or the cache does not hold all of these tokens. Arrays may be
        views, valid until as many tokens are decoded as are kept.
        """
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
        """Use the adapter in the file, or none, from the next decode on; keep the KV cache."""
        ...


class PairEngine(Engine, Protocol):
    """An engine for translation, which also cuts the cache back and changes the sampling."""

    def truncate(self, n_tokens: int) -> None:
        """Keep at most the first ``n_tokens`` in the cache; `n_past` is how many are left."""
        ...

    def use_sampling(self, options: SamplingOptions) -> None:
        """Sample with ``options`` from now on, starting with an empty history."""
        ...


class Tokenizer(Protocol):
    """Converts text to tokens and back."""

    @property
    def head(self) -> tuple[int, ...]:
        """The tokens that every context and training sequence begins with: BOS, or none."""
        ...

    def tokenize(self, text: str) -> list[int]:
        """Tokens of ``text``, without BOS."""
        ...

    def quote(self, text: str) -> str:
        """``text`` marked for use in a template, so that `tokenize_prompt` parses nothing in it."""
        ...

    def tokenize_prompt(self, prompt: str) -> list[int]:
        """Tokens of a template's output, without BOS; parses control tokens outside quoted text."""
        ...

    def piece(self, token: int) -> bytes:
        """Bytes of one token, which may end within a UTF-8 character."""
        ...


@dataclass(frozen=True, slots=True)
class Update:
    """The result of training on one block. Losses are the block's, in nats per token.

    A loss is None if it is not finite; ``loss_after`` also if it was not measured.
    """

    loss_before: float | None
    loss_after: float | None
    rss_bytes: int = 0
    """Resident memory of the training process, if training has a process of its own."""
    skipped: int = 0
    """Number of steps skipped because the loss or its gradient was not finite."""
    scale: float = 1.0
    """Factor of the adapter's output that training found, in addition to alpha / rank."""


class Trainer(Protocol):
    """Trains the adapter."""

    def train(
        self,
        prefix: Sequence[int],
        block: Sequence[int],
        loss_mask: Sequence[bool] | None = None,
        *,
        own: bool = False,
        captured: Captured | None = None,
    ) -> Update:
        """Train on ``block``, with ``prefix`` before it as context without loss.

        If an exception interrupts the call, repeating it as the next call learns the block once.

        Args:
            prefix: tokens before the block.
            block: tokens to learn.
            loss_mask: whether each token of ``block`` has a loss, at least one; None is all.
            own: whether the model wrote the block, which then has a learning rate of its own.
            captured: what the engine computed of the Δ tokens that predict those of ``block``;
                None: training computes it.
        """
        ...

    def begin(
        self,
        prefix: Sequence[int],
        block: Sequence[int],
        *,
        own: bool = False,
        captured: Captured | None = None,
    ) -> None:
        """Begin to train in the background.

        The next call is `train` with the same arguments, which waits for the rest.
        """
        ...

    def export(self) -> Path:
        """Write the current adapter to a new GGUF file, which the caller deletes."""
        ...

    def save(self, path: Path) -> None:
        """Write the whole state of training to ``path``."""
        ...

    def load(self, path: Path) -> None:
        """Continue from the state that `save` wrote."""
        ...
