"""A segment of a document and its translation."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

NO_ID: Final = 0
"""Stands for the id of a segment that was never saved."""


class Origin(StrEnum):
    """Who made the translation of a segment."""

    NONE = ""
    """It is not translated."""
    MODEL = "model"
    EDIT = "edit"
    """A person wrote it, or approved it."""
    MEMORY = "memory"
    """It was taken over from another translation."""

    @property
    def is_given(self) -> bool:
        """Whether it is not the model's, so that it is believed, and learned as given text."""
        return self in (Origin.EDIT, Origin.MEMORY)


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment, its translation and how it was made; its fields are the columns of the table."""

    id: int
    """Names the segment, for ever; says nothing about its place."""
    position: int
    """Place in reading order, from 1."""
    paragraph: int
    source: str
    translation: str | None
    origin: Origin
    flags: tuple[str, ...]
    attempts: int
    tokens: int
    """Length of the translation in tokens of the model."""
    seconds: float
    learned: bool = False
    """Whether its block is finished: learned, where translations are learned."""

    @property
    def is_believed(self) -> bool:
        """Whether its translation passed every check or is given.

        What the model was not asked for, as there is nothing to translate, is not.
        """
        asked = bool(self.attempts) or self.origin.is_given
        return bool(self.translation) and not self.flags and asked

    @classmethod
    def new(cls, position: int, paragraph: int, source: str) -> "SegmentRow":
        """An untranslated segment, which gets an id when it is saved."""
        return cls(NO_ID, position, paragraph, source, None, Origin.NONE, (), 0, 0, 0.0)
