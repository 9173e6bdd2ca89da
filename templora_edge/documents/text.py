"""Plain text: paragraphs between blank lines, hard-wrapped or a line each; verse; lists."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Final

from templora_edge.documents.document import Document, has_letters
from templora_edge.documents.markup import PLACEHOLDER, Paragraph
from templora_edge.documents.plain_file import PlainFile
from templora_edge.documents.wrapping import chunks, columns, filled, joined

_WIDTHS: Final = range(45, 131)
"""Columns at which text is broken by hand or by an editor."""
_FULL: Final = 0.9
"""Share of the width that a full line would exceed with the next word; editors that balance lines
leave the rest free."""
_ITEM: Final = re.compile(r"\s*(?:[-*+•·–]|\(?(?:\d{1,3}|[a-zA-Z])[.)])\s")
"""Beginning of a list item."""
_SPACE: Final = re.compile(r"[ \t\n\r\f\v]+")
"""White space at which a line may end."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Lines of the file that make up one paragraph, or have nothing to translate."""

    lines: tuple[str, ...]
    """Without their ends."""
    text: str
    """The paragraph; empty if there is nothing to translate."""
    literals: dict[int, str]


class TextDocument(Document):
    """A .txt file. Hard-wrapped paragraphs are joined, and wrapped again at the file's width.

    Raises:
        DocumentError: The file is not text, or empty.
    """

    def __init__(self, path: Path, language: str | None = None) -> None:
        self._file = PlainFile.read(path, language)
        blocks = [
            tuple(lines)
            for _, lines in groupby(self._file.lines, key=lambda line: bool(line.strip()))
        ]
        self._width = _width(blocks)
        self._stretches = [
            _stretch(lines) for block in blocks for lines in _cut(block, self._width)
        ]

    @property
    def paragraphs(self) -> Sequence[str]:
        """The texts to translate; see `Document.paragraphs`."""
        return [stretch.text for stretch in self._stretches if stretch.text]

    def write(
        self, path: Path, translations: Sequence[str], *, language: str, bilingual: bool = False
    ) -> None:
        """Write the file, wrapped like the source; see `Document.write`."""
        del language  # plain text does not record it
        left = iter(translations)
        lines: list[str] = []
        for stretch in self._stretches:
            if not stretch.text or bilingual:
                lines += stretch.lines
            if stretch.text:
                lines += self._translated(stretch, next(left))
        self._file.write(path, lines)

    def _translated(self, stretch: _Stretch, translation: str) -> list[str]:
        """Lines of ``translation``, indented and wrapped like those of ``stretch``."""
        if translation == stretch.text:
            return list(stretch.lines)
        text = PLACEHOLDER.sub(lambda match: stretch.literals[int(match[2])], translation)
        first, *others = stretch.lines
        if others and self._width:
            pieces = chunks(_SPACE.sub(" ", text).strip())
            return filled(pieces, self._width, _indent(first), _indent(others[0]))
        trailing = first[len(first.rstrip()) :]
        return [_indent(first) + re.sub(r"\s*[\n\r]\s*", " ", text) + trailing]


def _width(blocks: Sequence[Sequence[str]]) -> int | None:
    """Columns at which the lines of ``blocks`` were wrapped; None if they were not."""
    pairs = [pair for block in blocks if block[0].strip() for pair in pairwise(block)]
    widths = sorted(columns(line.rstrip()) for line, _ in pairs)
    if not widths:
        return None
    width = widths[math.ceil(0.95 * len(widths)) - 1]  # some lines are too long to break
    n_full = sum(_is_full(line, following, width) for line, following in pairs)
    return width if width in _WIDTHS and 2 * n_full >= len(pairs) else None


def _is_full(line: str, following: str, width: int) -> bool:
    """Whether ``line`` has no room for the first word of the ``following`` one."""
    word = chunks(following.strip())[0]
    return columns(f"{line.rstrip()} {word.rstrip()}") > _FULL * width


def _cut(block: Sequence[str], width: int | None) -> Iterator[tuple[str, ...]]:
    """Cut ``block`` into the lines of each paragraph."""
    margin = min(len(_indent(line)) for line in block)
    stretch = [block[0]]
    for line in block[1:]:
        if width and not _is_verse(block) and _continues(stretch, line, width, margin):
            stretch.append(line)
        else:
            yield tuple(stretch)
            stretch = [line]
    yield tuple(stretch)


def _is_verse(block: Sequence[str]) -> bool:
    """Whether there are several lines, each with a capital first and then small letters."""
    words = [re.sub(r"[\W\d_]+", "", line) for line in block]
    return len(words) > 2 and all(word[:1].isupper() and not word.isupper() for word in words)


def _continues(stretch: Sequence[str], line: str, width: int, margin: int) -> bool:
    """Whether the last line of ``stretch`` was broken because it was full, to go on in ``line``.

    Continuations have one indent; two lines with the one that begins paragraphs are two of them.
    """
    first, *others = (len(_indent(line)) for line in (*stretch, line))
    return (
        bool(line.strip())
        and len(set(others)) == 1
        and (others[0] != first or first == margin)
        and not _ITEM.match(line)
        and _is_full(stretch[-1], line, width)
    )


def _stretch(lines: tuple[str, ...]) -> _Stretch:
    text = lines[0].strip()
    if len(lines) > 1:
        text = joined(_SPACE.sub(" ", line.strip()) for line in lines)
    paragraph = Paragraph()
    literals = dict(paragraph.add_text(text))
    return _Stretch(lines, paragraph.text if has_letters(text) else "", literals)


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
