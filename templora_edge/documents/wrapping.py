"""Lines of limited width, and paragraphs made of them."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

_OPENING: Final = "「『（［｛〈《【〔“‘"
_CLOSING: Final = "、。，．：；！？」』）］｝〉》】〕”’…ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ"
"""What does not begin a line (JIS X 4051)."""
_SPACELESS: Final = "\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
"""Scripts that put no space between words."""
_CHUNK: Final = re.compile(rf"[{_OPENING}]*(?:[{_SPACELESS}]|[^ {_SPACELESS}]+)[{_CLOSING}]* *")
_TIGHT: Final = re.compile(rf"(?<=[{_SPACELESS}])\n(?=[{_SPACELESS}])|(?<=\w-)\n(?=\w)|(?<=\w--)\n")
"""Ends of lines that stand for no space: also after the hyphen of a compound."""


def columns(text: str) -> int:
    """Columns that ``text`` takes where each character has one or, if it is wide, two."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def joined(lines: Iterable[str]) -> str:
    """Stripped ``lines`` as one, with a space between them where there is one in running text."""
    return _TIGHT.sub("", "\n".join(lines)).replace("\n", " ")


def chunks(text: str) -> Sequence[str]:
    """``text`` cut wherever a line may end; spaces stay at the ends of the pieces."""
    return _CHUNK.findall(text)


def filled(pieces: Iterable[str], width: int, first: str, rest: str) -> list[str]:
    """Lines of up to ``width`` columns, as many of ``pieces`` on each as there is room for.

    Args:
        first: what the first line begins with.
        rest: what every other line begins with.
    """
    lines: list[str] = []
    for piece in pieces:
        if lines and columns(lines[-1] + piece.rstrip(" ")) <= width:
            lines[-1] += piece
        else:
            lines.append((rest if lines else first) + piece)
    return [line.rstrip(" ") for line in lines]
