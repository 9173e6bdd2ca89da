"""Wrapping text into lines and joining lines to text."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

_OPENING: Final = "「『（［｛〈《【〔“‘"
_CLOSING: Final = "、。，．：；！？」』）］｝〉》】〕”’…ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ"
"""Characters that must not begin a line (JIS X 4051)."""
_SPACELESS: Final = "\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
"""Scripts without spaces between words."""
_CHUNK: Final = re.compile(rf"[{_OPENING}]*(?:[{_SPACELESS}]|[^ {_SPACELESS}]+)[{_CLOSING}]* *")
_TIGHT: Final = re.compile(rf"(?<=[{_SPACELESS}])\n(?=[{_SPACELESS}])|(?<=\w-)\n(?=\w)|(?<=\w--)\n")
"""Line ends that do not stand for a space, such as the one after a compound's hyphen."""


def columns(text: str) -> int:
    """Columns that ``text`` takes up, two for each wide character."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def joined(lines: Iterable[str]) -> str:
    """Stripped ``lines`` as running text, with spaces between them where the script has any."""
    return _TIGHT.sub("", "\n".join(lines)).replace("\n", " ")


def chunks(text: str) -> Sequence[str]:
    """``text`` cut wherever a line may end; each piece keeps the spaces at its end."""
    return _CHUNK.findall(text)


def filled(pieces: Iterable[str], width: int, first: str, rest: str) -> list[str]:
    """Fill lines of up to ``width`` columns with ``pieces``.

    Args:
        first: Prefix of the first line.
        rest: Prefix of every other line.
    """
    lines: list[str] = []
    for piece in pieces:
        if lines and columns(lines[-1] + piece.rstrip(" ")) <= width:
            lines[-1] += piece
        else:
            lines.append((rest if lines else first) + piece)
    return [line.rstrip(" ") for line in lines]
