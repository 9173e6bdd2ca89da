"""The run that a report is about."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

PHASES: Final = ("generate", "train", "convert", "swap")
"""Phases of a block, in order, whose seconds are known."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a text. Losses are in nats per token; None is what was not measured."""

    number: int
    """Place among the blocks of the text, from 1."""
    begin: int
    """Position of its first token in the text."""
    tokens: int
    given: bool
    """Whether its text was given rather than generated."""
    looped: bool
    """Whether it was not learned because the model repeats itself in it."""
    text: str | None
    base_loss: float | None
    """Loss with the base alone."""
    loss: float | None
    """Loss with the adapter, before it learned the block."""
    loss_after: float | None
    """Loss with the adapter, after it learned the block."""
    scale: float | None
    """Factor of the adapter's output that training found; None without an update."""
    seconds: Mapping[str, float]
    """Phase -> seconds."""
    rss_bytes: int
    """Resident memory of both processes; 0 if it is not known."""

    @property
    def end(self) -> int:
        """Position after its last token."""
        return self.begin + self.tokens

    @property
    def learned(self) -> bool:
        """Whether the adapter was trained on it."""
        return self.scale is not None and not self.looped

    @property
    def state(self) -> str:
        """Whether the adapter learned it, in words."""
        if self.looped:
            return "not learned: it loops"
        return "learned" if self.learned else "not learned"


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Perplexity of a text that was scored; None is a side that was not."""

    base: float | None
    templora: float | None
    change_percent: float | None
    """Change from the base to Temp-LoRA; negative is an improvement."""
    change_percent_se: float | None
    """Standard error of the change."""


@dataclass(frozen=True, slots=True)
class TextRun:
    """One text, its blocks in order."""

    name: str
    """File that the text comes from; empty for a text that was generated."""
    before: str
    """Text before the first block."""
    blocks: tuple[Block, ...]
    perplexity: Perplexity | None
    """None for a text that was generated."""
    seconds: float | None
    """Seconds that the whole run took."""
    peak_rss_bytes: int
    """Most resident memory of both processes; 0 if it is not known."""
    finished: bool

    @property
    def n_tokens(self) -> int:
        """Length of the text in tokens."""
        return self.blocks[-1].end

    @property
    def is_mixed(self) -> bool:
        """Whether some of the text is given and the rest written."""
        n_given = sum(block.given for block in self.blocks)
        return n_given < len(self.blocks) and (n_given > 0 or bool(self.before))

    @property
    def has_text(self) -> bool:
        """Whether the report has the text of the blocks."""
        return any(block.text for block in self.blocks)

    @property
    def swaps(self) -> list[float]:
        """Seconds of each swap."""
        return [block.seconds["swap"] for block in self.blocks if block.seconds["swap"]]


@dataclass(frozen=True, slots=True)
class Report:
    """The report of a command: one text or several, and what they have in common."""

    texts: tuple[TextRun, ...]
    settings: Mapping[str, Any]
    versions: Mapping[str, Any]
    model: Mapping[str, Any]
