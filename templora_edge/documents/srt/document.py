"""SubRip subtitles: the text of each event is replaced, all other lines stay as they are.

Libraries for subtitles read events and write new files: they renumber events and lose positions
after timings, blank lines and odd timings.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from templora_edge.documents.document import Document
from templora_edge.documents.plain_file import PlainFile
from templora_edge.documents.srt.event import SrtEvent
from templora_edge.errors import DocumentError

_TIME: Final = re.compile(r"\d{1,2}:\d{1,2}:\d{1,2}[.,]\d{1,3}")
"""A timestamp, however it is padded; a line with two of them begins an event."""
_OTHER_FORMATS: Final = re.compile(
    r"\A\s*WEBVTT|\[Script Info\]|\[V4\+ Styles\]|http://www\.w3\.org/ns/ttml"
)
"""Signs of WebVTT, SubStation Alpha and TTML, whose timestamps can look the same."""


class SrtDocument(Document):
    """A .srt file. The words of each speaker in an event are a paragraph.

    Raises:
        DocumentError: The file is not text, not SubRip, or without words.
    """

    def __init__(self, path: Path, language: str | None = None) -> None:
        self._file = PlainFile.read(path, language)
        lines = self._file.lines
        timings = [i for i, line in enumerate(lines) if len(_TIME.findall(line)) == 2]
        if not timings or _OTHER_FORMATS.search("\n".join(lines)):
            raise DocumentError(
                f"{path}: not SubRip; expected timings such as 00:00:01,000 --> 00:00:02,500, and "
                "no other format's"
            )
        self._events = [
            (*place, SrtEvent(lines[slice(*place)])) for place in _events(lines, timings)
        ]
        if not self.paragraphs:
            raise DocumentError(f"{path}: no words in it; expected some text to translate")

    @property
    def paragraphs(self) -> Sequence[str]:
        """Lines of each speaker, event by event; see `Document.paragraphs`."""
        return [text for _, _, event in self._events for text in event.paragraphs]

    def write(
        self, path: Path, translations: Sequence[str], *, language: str, bilingual: bool = False
    ) -> None:
        """Write the file; see `Document.write`. A bilingual event has both languages."""
        del language  # SubRip does not record it
        left = iter(translations)
        lines: list[str] = []
        written = 0
        for begin, end, event in self._events:
            lines += self._file.lines[written:begin]
            lines += event.lines([next(left) for _ in event.paragraphs], bilingual=bilingual)
            written = end
        self._file.write(path, [*lines, *self._file.lines[written:]])


def _events(lines: Sequence[str], timings: Sequence[int]) -> list[tuple[int, int]]:
    """Where the text after each timing begins and ends, without blank lines around it."""
    events = []
    for timing, after in pairwise([*timings, len(lines)]):
        begin, end = timing + 1, after
        if after < len(lines) and lines[after - 1].strip().isdecimal():
            end -= 1  # the number of the next event
        while begin < end and not lines[begin].strip():
            begin += 1
        while begin < end and not lines[end - 1].strip():
            end -= 1
        events.append((begin, max(begin, end)))
    return events
