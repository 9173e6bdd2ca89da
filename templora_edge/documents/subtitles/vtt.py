"""WebVTT: the header, notes, styles, regions, and names and settings of cues stay as they are."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from templora_edge.documents.plain_file import PlainFile
from templora_edge.documents.subtitles.cue import Cue
from templora_edge.documents.subtitles.document import SubtitleDocument
from templora_edge.errors import DocumentError

_NO_CUE: Final = re.compile(r"(?:WEBVTT|NOTE|STYLE|REGION)(?:\s|$)")


class VttDocument(SubtitleDocument):
    """A .vtt file.

    Raises:
        DocumentError: The file is not text, not WebVTT, or without words.
    """

    def __init__(self, path: Path, language: str | None = None) -> None:
        file = PlainFile.read(path, language)
        if not re.match(r"WEBVTT(?:\s|$)", file.lines[0]):
            raise DocumentError(f"{path}: not WebVTT; expected WEBVTT in the first line")
        cues = [
            (*place, Cue(file.lines[slice(*place)], has_references=True))
            for place in _places(file.lines)
        ]
        super().__init__(path, file, cues)


def _places(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where the text of each cue begins and ends; a blank line ends it, or another timing."""
    block = begin = 0
    for i, line in enumerate([*lines, ""]):
        if not line.strip():
            if begin:
                yield begin, i
            block, begin = i + 1, 0
        elif "-->" in line and not (block and _NO_CUE.match(lines[block])):
            if begin:
                yield begin, i
            begin = i + 1
