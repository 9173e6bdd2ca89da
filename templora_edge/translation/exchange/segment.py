"""What files of other tools say of a segment, and what is written of a job into them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from templora_edge.translation.store.segment_row import Origin, SegmentRow


class State(StrEnum):
    """How far a translation is, in the words of XLIFF 2."""

    INITIAL = "initial"
    """Not translated, or flagged."""
    TRANSLATED = "translated"
    """By the model."""
    REVIEWED = "reviewed"
    """Taken over from a memory."""
    FINAL = "final"
    """By a person."""


_STATES = {
    Origin.MODEL: State.TRANSLATED,
    Origin.MEMORY: State.REVIEWED,
    Origin.EDIT: State.FINAL,
}


@dataclass(frozen=True, slots=True)
class ExchangedSegment:
    """A segment of a file, with placeholders for its inline codes.

    The translation has exactly the placeholders of the source.
    """

    id: str | None
    source: str
    translation: str | None
    """None if it is missing or empty."""
    state: State | None
    """None if the file does not say."""


@dataclass(frozen=True, slots=True)
class ExchangedJob:
    """What is written of a job."""

    source_language: str
    """BCP 47 tag."""
    target_language: str
    """BCP 47 tag."""
    original: str
    """File name of the source document."""
    rows: Sequence[SegmentRow]


def state_of(row: SegmentRow) -> State:
    """The state of a segment of a job."""
    if row.translation is None or row.flags:
        return State.INITIAL
    return _STATES[row.origin]
