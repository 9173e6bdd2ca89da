"""SubStation Alpha and its advanced version: the text of dialogue lines is replaced."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from templora_edge.documents.plain_file import PlainFile
from templora_edge.documents.subtitles.cue import Cue
from templora_edge.documents.subtitles.document import PlacedCue, SubtitleDocument
from templora_edge.errors import DocumentError

_SECTION: Final = re.compile(r"\s*\[([^\]]*)\]\s*$")
_EVENT: Final = re.compile(r"\s*(Format|Dialogue|Comment)\s*:\s*", re.IGNORECASE)
_TAGS: Final = re.compile(r"\{[^{}]*\}")
_DRAWING: Final = re.compile(r"\\p[1-9]")
_COMMENT: Final = re.compile(r"\{[^\\{}]*\}")
"""What is in braces without a tag and thus not shown."""
_BREAK: Final = re.compile(r"\\[Nn]")
_N_FIELDS: Final = 10
"""Fields of an event where no format is given."""


class AssDocument(SubtitleDocument):
    """A .ass or .ssa file. Comments and drawings are left as they are.

    Raises:
        DocumentError: The file is not text, not SubStation Alpha, or without words.
    """

    def __init__(self, path: Path, language: str | None = None) -> None:
        file = PlainFile.read(path, language)
        self._skipped: dict[str, int] = {}
        cues = list(self._events(file.lines))
        if not cues:
            raise DocumentError(
                f"{path}: not SubStation Alpha; expected lines of dialogue after [Events]"
            )
        super().__init__(path, file, cues)

    @property
    def skipped(self) -> Mapping[str, int]:
        """Comments and drawings; see `Document.skipped`."""
        return self._skipped

    def _events(self, lines: Sequence[str]) -> Iterator[PlacedCue]:
        section, n_fields = "", _N_FIELDS
        for i, line in enumerate(lines):
            if found := _SECTION.match(line):
                section = found[1].strip().lower()
            event = _EVENT.match(line) if section == "events" else None
            if event is None:
                continue
            fields = line[event.end() :].split(",", n_fields - 1)
            if event[1].lower() == "format":
                n_fields = line[event.end() :].count(",") + 1
            elif event[1].lower() == "comment":
                self._count("comments")
            elif len(fields) == n_fields and _draws(fields[-1]):
                self._count("drawings")
            elif len(fields) == n_fields:
                yield i, i + 1, _Dialogue(line[: len(line) - len(fields[-1])], fields[-1])

    def _count(self, name: str) -> None:
        self._skipped[name] = self._skipped.get(name, 0) + 1


class _Dialogue:
    """A line of dialogue: the fields before its text, and the text."""

    def __init__(self, fields: str, text: str) -> None:
        self._fields = fields
        self._text = text
        self._comments = "".join(_COMMENT.findall(text))
        self._cue = Cue(_BREAK.split(_COMMENT.sub("", text).replace(r"\h", "\u00a0")))

    @property
    def paragraphs(self) -> Sequence[str]:
        return self._cue.paragraphs

    def lines(self, translations: Sequence[str], *, bilingual: bool) -> list[str]:
        text = self._text
        if bilingual or list(translations) != list(self.paragraphs):
            lines = self._cue.lines(translations, bilingual=bilingual)
            text = self._comments + r"\N".join(lines).replace("\u00a0", r"\h")
        return [self._fields + text]


def _draws(text: str) -> bool:
    """Whether ``text`` is a drawing, or has one."""
    return any(map(_DRAWING.search, _TAGS.findall(text)))
