"""Plain text: paragraphs between blank lines, hard-wrapped or a line each; verse; lists."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
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
_LEADER: Final = re.compile(r"\s*(?:\.{4,}|(?:\.[ \u00a0]){3,}\.?|…{2,}|_{4,})\s*[\w.-]{0,8}\s*$")
"""What leads to a page number in a table of contents, and the number."""
_LONGEST_LEADER: Final = 400
"""Characters of a line's end that can be such a leader."""
_BROKEN: Final = re.compile(r"(?<!\w)(\w+)-\n(\w+)")
"""A word that a line end divides."""
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
    width: int | None
    """Columns to wrap at; None for a line that is written as one."""
    leader: str
    """End of the line that is kept: dots and a page number."""


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
        hyphens = _Hyphens(self._file.lines)
        width = _width(blocks)
        self._stretches = [
            _stretch(lines, own, hyphens)
            for block in blocks
            for own in [_own_width(block) or width]
            for lines in _cut(block, own)
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
        if others and stretch.width:
            pieces = chunks(_SPACE.sub(" ", text).strip())
            return filled(pieces, stretch.width, _indent(first), _indent(others[0]))
        line = _indent(first) + re.sub(r"(?<!\s)\s*[\n\r]\s*", " ", text)
        if stretch.leader:
            return [line + _fitted(stretch.leader, columns(first) - columns(line))]
        return [line + first[len(first.rstrip()) :]]


class _Hyphens:
    """Removes hyphens that divide words at line ends, and no others."""

    def __init__(self, lines: Sequence[str]) -> None:
        words = re.findall(r"\w+(?:-\w+)*", "\n".join(lines).lower())
        self._words = frozenset(words)
        n_broken = sum(bool(re.search(r"\w-$", line)) for line in lines)
        self._is_usual = 20 * n_broken > len(lines)
        """Whether words are divided in this file, so that an unknown one is taken for divided."""

    def joined(self, lines: Iterable[str]) -> str:
        """Running text of stripped ``lines``."""
        text = re.sub(r"[\u00ad¬]\n", "", "\n".join(lines))
        return joined(_BROKEN.sub(self._whole, text).split("\n"))

    def _whole(self, match: re.Match[str]) -> str:
        first, second = (part.lower() for part in match.groups())
        if first + second in self._words:
            is_divided = f"{first}-{second}" not in self._words
        else:
            is_divided = (
                self._is_usual
                and match[2].islower()
                and f"{first}-{second}" not in self._words
                and not {first, second} <= self._words
            )
        return match[1] + match[2] if is_divided else match.group()


def _width(blocks: Sequence[Sequence[str]]) -> int | None:
    """Columns at which most lines of wrapped ``blocks`` end; None if none of them is wrapped.

    Titles, lists and verse do not count, however many there are.
    """
    wrapped = [block for block in blocks if _own_width(block)]
    return _block_width(wrapped or [block for block in blocks if block[0].strip()])


def _own_width(block: Sequence[str]) -> int | None:
    """Columns at which ``block`` by itself is clearly wrapped; None if it is not clear."""
    if len(block) < 4 or not block[0].strip() or _is_verse(block):
        return None
    if any(_ITEM.match(line) or _leader(line) for line in block):
        return None
    return _block_width([block], share=0.75)


def _block_width(blocks: Sequence[Sequence[str]], share: float = 0.5) -> int | None:
    """Columns at which that ``share`` of the lines of ``blocks`` was broken; None if fewer were."""
    pairs = [pair for block in blocks for pair in pairwise(block)]
    widths = sorted(columns(line.rstrip()) for line, _ in pairs)
    if not widths:
        return None
    width = widths[math.ceil(0.95 * len(widths)) - 1]  # some lines are too long to break
    n_full = sum(_is_full(line, following, width) for line, following in pairs)
    return width if width in _WIDTHS and n_full >= share * len(pairs) else None


def _is_full(line: str, following: str, width: int) -> bool:
    """Whether ``line`` has no room for the first word of the ``following`` one."""
    word = chunks(following.strip())[0]
    return columns(f"{line.rstrip()} {word.rstrip()}") > _FULL * width


def _cut(block: Sequence[str], width: int | None) -> Iterator[tuple[str, ...]]:
    """Cut ``block`` into the lines of each paragraph."""
    margin = min(len(_indent(line)) for line in block)
    stretch = [block[0]]
    is_verse = _is_verse(block)
    for line in block[1:]:
        if width and not is_verse and _continues(stretch, line, width, margin):
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
    # those between the second and the last have been found to be equal
    first, *others = (len(_indent(each)) for each in (*stretch[:2], line))
    return (
        bool(line.strip())
        and len(set(others)) == 1
        and (others[0] != first or first == margin)
        and not _ITEM.match(line)
        and not _leader(line)
        and not _leader(stretch[-1])
        and _is_full(stretch[-1], line, width)
    )


def _stretch(lines: tuple[str, ...], width: int | None, hyphens: _Hyphens) -> _Stretch:
    text, leader = lines[0].strip(), ""
    if len(lines) > 1:
        text = hyphens.joined(_SPACE.sub(" ", line.strip()) for line in lines)
    elif leader := _leader(lines[0]):
        text = lines[0].removesuffix(leader).strip()
    paragraph = Paragraph()
    literals = dict(paragraph.add_text(text))
    translated = paragraph.text if has_letters(text) else ""
    return _Stretch(lines, translated, literals, width, leader)


def _leader(line: str) -> str:
    """The end of ``line`` that leads to a page number; empty if there is none."""
    found = _LEADER.search(line, max(0, len(line) - _LONGEST_LEADER))
    return found.group() if found else ""


def _fitted(leader: str, width: int) -> str:
    """``leader`` with more or fewer dots, for as many columns as ``width``, if there is room."""
    dots = re.search(r"\.{4,}|_{4,}", leader)
    if dots is None:
        return leader
    n_dots = max(3, len(dots.group()) + width - columns(leader))
    return leader[: dots.start()] + dots.group()[0] * n_dots + leader[dots.end() :]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
