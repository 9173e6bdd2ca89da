"""The interface of all document formats."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol


class Document(Protocol):
    """A document that has been read and can be written in another language."""

    @property
    def paragraphs(self) -> Sequence[str]:
        r"""Texts to translate, in reading order, with placeholders for inline markup (`markup`).

        Each has some letters and no white space at its ends. In it, "\n" and "\t" are the
        format's own line break and tab, and come back as these.
        """
        ...

    @property
    def skipped(self) -> Mapping[str, int]:
        """Texts left untranslated on purpose: a kind, in the plural -> their number.

        A format that leaves nothing out inherits this.
        """
        return {}

    @property
    def places(self) -> Sequence[str]:
        """The name of each paragraph's chapter or cue, for people who look for it.

        A format that has no such names inherits empty ones.
        """
        return [""] * len(self.paragraphs)

    def write(
        self, path: Path, translations: Sequence[str], *, language: str, bilingual: bool = False
    ) -> None:
        """Write the document to ``path``, each paragraph replaced by its translation.

        Args:
            translations: One for each paragraph. Each has the placeholders of its paragraph, or all
                of its single ones and no span.
            language: BCP 47 tag of the translations, for formats that record it.
            bilingual: Keep each paragraph, followed by a line break and its translation.

        Raises:
            OSError: ``path`` cannot be written.
        """
        ...


def has_letters(text: str) -> bool:
    """Whether ``text`` has a letter; numbers and ornaments alone are not translated."""
    return any(character.isalpha() for character in text)
