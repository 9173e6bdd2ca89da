"""SubRip subtitles: the lines of each event are replaced, all others stay as they are.

What a subtitle file and a timing is, pysubs2 says. It does not write the file: that would renumber
the events and change what it does not know (positions after timings, blank lines, a last line that
is a number).
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from pysubs2.formats.subrip import SubripFormat

from templora_edge.documents.plain_file import PlainFile
from templora_edge.documents.srt.event import SrtEvent
from templora_edge.errors import DocumentError


class SrtDocument:
    """A .srt file. Each speaker's words in an event are a paragraph.

    Raises:
        DocumentError: not UTF-8, not SubRip, or without words.
    """

    def __init__(self, path: Path) -> None:
        self._file = PlainFile.read(path)
        lines = self._file.lines
        if SubripFormat.guess_format("\n".join(lines)) is None:
            raise DocumentError(
                f"{path}: not SubRip; expected timings such as 00:00:01,000 --> 00:00:02,500, and "
                "no other format's"
            )
        self._events = [(*place, SrtEvent(lines[slice(*place)])) for place in _events(lines)]
        if not self.paragraphs:
            raise DocumentError(f"{path}: no words in it; expected some text to translate")

    @property
    def paragraphs(self) -> Sequence[str]:
        """See `Document`."""
        return [text for _, _, event in self._events for text in event.paragraphs]

    def write(
        self, path: Path, translations: Sequence[str], *, language: str, bilingual: bool = False
    ) -> None:
        """See `Document`."""
        del language  # subtitles do not say it
        left = iter(translations)
        lines: list[str] = []
        written = 0
        for begin, end, event in self._events:
            lines += self._file.lines[written:begin]
            lines += event.lines([next(left) for _ in event.paragraphs], bilingual=bilingual)
            written = end
        self._file.write(path, [*lines, *self._file.lines[written:]])


def _events(lines: Sequence[str]) -> list[tuple[int, int]]:
    """Where the text of each event begins and ends, without blank lines around it."""
    timings = [i for i, line in enumerate(lines) if len(SubripFormat.TIMESTAMP.findall(line)) == 2]
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
