"""What all formats of subtitles have in common: lines of a file, and cues among them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from templora_edge.documents.document import Document
from templora_edge.documents.plain_file import PlainFile
from templora_edge.errors import DocumentError


class CueLines(Protocol):
    """Lines of a file that are the text of a cue."""

    @property
    def paragraphs(self) -> Sequence[str]:
        """As in `Document.paragraphs`; empty if there are no letters."""
        ...

    def lines(self, translations: Sequence[str], *, bilingual: bool) -> list[str]:
        """The lines with a translation for each paragraph, in its place or after it."""
        ...


PlacedCue = tuple[int, int, CueLines]
"""The line where the text of a cue begins, the line where it ends, and the text."""


class SubtitleDocument(Document):
    """A file of subtitles. The words of each speaker in a cue are a paragraph.

    Raises:
        DocumentError: The file is without words.
    """

    def __init__(self, path: Path, file: PlainFile, cues: Sequence[PlacedCue]) -> None:
        self._file = file
        self._cues = cues
        if not self.paragraphs:
            raise DocumentError(f"{path}: no words in it; expected some text to translate")

    @property
    def paragraphs(self) -> Sequence[str]:
        """Lines of each speaker, cue by cue; see `Document.paragraphs`."""
        return [text for _, _, cue in self._cues for text in cue.paragraphs]

    @property
    def places(self) -> Sequence[str]:
        """The cue of each paragraph, counted from 1; see `Document.places`."""
        return [f"cue {n}" for n, (_, _, cue) in enumerate(self._cues, 1) for _ in cue.paragraphs]

    def write(
        self, path: Path, translations: Sequence[str], *, language: str, bilingual: bool = False
    ) -> None:
        """Write the file; see `Document.write`. A bilingual cue has both languages."""
        del language  # subtitles do not record it
        left = iter(translations)
        lines: list[str] = []
        written = 0
        for begin, end, cue in self._cues:
            lines += self._file.lines[written:begin]
            lines += cue.lines([next(left) for _ in cue.paragraphs], bilingual=bilingual)
            written = end
        self._file.write(path, [*lines, *self._file.lines[written:]])
