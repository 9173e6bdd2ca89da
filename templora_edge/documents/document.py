"""What the translation of a document needs of a format."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Document(Protocol):
    """A document that was read, and can be written in another language."""

    @property
    def paragraphs(self) -> Sequence[str]:
        """What is to be translated, in reading order, its inline markup as placeholders.

        Each holds some words and has no space at its ends. See `markup`.
        """
        ...

    def write(
        self, path: Path, translations: Sequence[str], *, language: str, bilingual: bool = False
    ) -> None:
        """Write the document anew, each paragraph replaced by its translation.

        Args:
            translations: one a paragraph. Each has the placeholders of its paragraph, or all of its
                single ones and no span.
            language: of the translations, a BCP 47 tag, for formats that say it.
            bilingual: keep each paragraph, a line break and its translation after it.
        """
        ...


def has_letters(text: str) -> bool:
    """Whether there is something to translate in ``text``."""
    return any(character.isalpha() for character in text)
