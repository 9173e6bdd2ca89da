"""Events that the loop and the session report while they work on a text."""

from dataclasses import dataclass

from templora_edge.updates import UpdateReport


@dataclass(frozen=True, slots=True)
class Token:
    """A generated token."""

    id: int
    block: int


@dataclass(frozen=True, slots=True)
class Piece:
    """The text of a generated token: whole UTF-8 characters only, so it may be empty."""

    text: str
    token: int | None
    """None on a final piece that stands for a character the model left incomplete."""
    block: int


@dataclass(frozen=True, slots=True)
class ScoredBlock:
    """The score of a block before it was learned."""

    nll: tuple[float, ...]
    """Negative log-likelihood of each scored token, in nats."""


@dataclass(frozen=True, slots=True)
class BlockReport(UpdateReport):
    """One block: the cost of generating or scoring it, and its update once it is learned."""

    index: int
    tokens: int
    generate_s: float = 0.0
    """Seconds spent on decoding, sampling and scoring."""
    given: bool = False
    """Whether the block's text was given rather than generated."""
    begin: int = 0
    """Position of its first token in the text, without BOS."""


@dataclass(frozen=True, slots=True)
class Absorbed:
    """Progress of a prompt: the adapter has learned ``done`` of its ``total`` tokens."""

    done: int
    total: int
    report: BlockReport | None
    """None before the first block."""
