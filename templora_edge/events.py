"""What happens to a text, as the loop and the session report it while they work."""

from dataclasses import dataclass

from templora_edge.updates import UpdateReport


@dataclass(frozen=True, slots=True)
class Token:
    """A generated token."""

    id: int
    block: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A generated token as text: whole UTF-8 characters only, so it may be empty."""

    text: str
    token: int | None
    """None on a last piece that stands for a character the model never finished."""
    block: int


@dataclass(frozen=True, slots=True)
class ScoredBlock:
    """A block's negative log-likelihood, in nats a token, before it was learned."""

    nll: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class BlockReport(UpdateReport):
    """One block: what it took to generate or score it, and its update once it is learned."""

    index: int
    tokens: int
    generate_s: float = 0.0
    """Seconds of decoding, sampling and scoring."""
    given: bool = False
    """Whether the block was given, not generated."""


@dataclass(frozen=True, slots=True)
class Absorbed:
    """``done`` of ``total`` prompt tokens are in the adapter."""

    done: int
    total: int
    report: BlockReport | None
    """None before the first block."""
