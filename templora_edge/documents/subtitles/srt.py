"""SubRip, as players read it: numbers, blank lines and parts of timings may be missing or wrong."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from templora_edge.documents.plain_file import PlainFile
from templora_edge.documents.subtitles.cue import Cue
from templora_edge.documents.subtitles.document import SubtitleDocument
from templora_edge.errors import DocumentError

_TIME: Final = r"(?:\d{1,3}\s?:\s?)?\d{1,3}\s?:\s?\d{1,2}(?:\s?[.,:]\s?\d{1,4})?"
"""A timestamp, however it is padded; hours and parts of a second may be missing."""
_TIMING: Final = re.compile(rf"\s*-?{_TIME}\s*[-–—]+\s*>+\s*-?{_TIME}(?:\s|$)")
_TWO_TIMES: Final = re.compile(rf"\s*{_TIME}[.,]\d{{1,3}}\D+{_TIME}[.,]\d{{1,3}}\s*$")
"""A timing whose arrow is something else."""
_OTHER_FORMATS: Final = re.compile(
    r"\A\s*WEBVTT|\[Script Info\]|\[V4\+ Styles\]|http://www\.w3\.org/ns/ttml"
)
"""Signs of WebVTT, SubStation Alpha and TTML, whose timestamps can look the same."""


class SrtDocument(SubtitleDocument):
    """A .srt file.

    Raises:
        DocumentError: The file is not text, not SubRip, or without words.
    """

    def __init__(self, path: Path, language: str | None = None) -> None:
        file = PlainFile.read(path, language)
        timings = [
            i for i, line in enumerate(file.lines) if _TIMING.match(line) or _TWO_TIMES.match(line)
        ]
        if not timings or _OTHER_FORMATS.search("\n".join(file.lines)):
            raise DocumentError(
                f"{path}: not SubRip; expected timings such as 00:00:01,000 --> 00:00:02,500, and "
                "no other format's"
            )
        super().__init__(
            path,
            file,
            [(*place, Cue(file.lines[slice(*place)])) for place in _places(file.lines, timings)],
        )


def _places(lines: Sequence[str], timings: Sequence[int]) -> list[tuple[int, int]]:
    """Where the text after each timing begins and ends, without blank lines around it."""
    places = []
    for timing, after in pairwise([*timings, len(lines)]):
        begin, end = timing + 1, after
        if after < len(lines) and lines[after - 1].strip().isdecimal():
            end -= 1  # the number of the next cue
        while begin < end and not lines[begin].strip():
            begin += 1
        while begin < end and not lines[end - 1].strip():
            end -= 1
        places.append((begin, max(begin, end)))
    return places
