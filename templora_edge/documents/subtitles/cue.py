"""The text of one subtitle: its speakers, markup and line breaks."""

import html
import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from typing import Final

from templora_edge.documents import markup
from templora_edge.documents.document import has_letters
from templora_edge.documents.wrapping import chunks, columns, joined

MOST_COLUMNS: Final = 42
"""Usual width of a subtitle's line; a Chinese or Japanese character takes two columns."""

_TAG: Final = r"</?[A-Za-z][^<>]*>|<[0-9]+:[0-9:.]+>|\{\\[^{}]*\}"
"""Tags of HTML, as SubRip and WebVTT have them, and of SubStation Alpha, which players know."""
_TIMES: Final = re.compile(r"(<[0-9]+:[0-9:.]+>|\{\\[kK][fo]?[0-9]+\})")
"""When a word or syllable is sung or said."""
_BREAK_TAG: Final = re.compile(r"<br\s*/?>", re.IGNORECASE)
_TAGS: Final = re.compile(f"({_TAG})")
_STAND_IN: Final = re.compile("\0")
_SPACE: Final = re.compile("[ \\t\\r\\n]+")
_DASH: Final = re.compile(r"\s*(?:[-‐‑](?![-\d])|[–—―])\s*")
_SPEAKER: Final = re.compile(rf"(?:\s*(?:{_TAG}))*{_DASH.pattern}(?=\S)|\s*<v[.\s]")
_AROUND: Final = re.compile(r"[\s♩♪♫♬]+")
"""Space and signs of song around the words."""
_DEEPEST: Final = 100
"""Levels of nesting that nobody writes by hand; tags beyond stand alone."""
_SPLIT_BY_LINES: Final = re.compile(r"</(\w+)>\s*\n\s*<\1\b", re.IGNORECASE)
_PLACE: Final = re.compile(r"\{\\(?:an?\d+|pos\([^()]*\))\}")


class Cue:
    """The lines of a cue, without blank lines around them; a paragraph for each speaker.

    Args:
        has_references: Whether `&amp;` and the like stand for characters, as in WebVTT.
    """

    def __init__(self, lines: Sequence[str], *, has_references: bool = False) -> None:
        self._lines = tuple(lines)
        self._speeches = [_Speech(each, has_references) for each in _speakers(lines)]

    @property
    def paragraphs(self) -> Sequence[str]:
        """As in `Document.paragraphs`; empty if there are no letters."""
        return [speech.text for speech in self._speeches if speech.text]

    def lines(self, translations: Sequence[str], *, bilingual: bool) -> list[str]:
        """Lines of the event with a translation for each paragraph, in its place or after it."""
        left = iter(translations)
        lines: list[str] = []
        for speech in self._speeches:
            if speech.text:
                lines += speech.translated(next(left))
            elif not bilingual:
                lines += speech.lines
        if not bilingual:
            return lines
        return [*self._lines, *(_PLACE.sub("", line) for line in lines)]


@dataclass(frozen=True, slots=True)
class _LoneTag:
    tag: str


@dataclass(frozen=True, slots=True)
class _TagPair:
    opening: str
    closing: str
    children: "list[_Marked]"


_Marked = str | _LoneTag | _TagPair


class _Speech:
    """The lines of one speaker."""

    def __init__(self, lines: Sequence[str], has_references: bool) -> None:
        self.lines: Final = tuple(lines)
        self._has_references = has_references
        parts = [part.strip() for line in lines for part in _BREAK_TAG.split(line)]
        marked, self._times = _without_times(joined(parts))
        nodes, self._prefix, self._suffix = _stripped(_parsed(marked))
        self._tags: dict[int, tuple[str, str]] = {}
        text = markup.Paragraph()
        self._add(nodes, text)
        self.text: Final = text.text if has_letters(text.text) else ""

    def translated(self, translation: str) -> list[str]:
        """Lines of ``translation``; the old ones if it is the source."""
        if translation == self.text:
            return list(self.lines)
        tree = markup.parse(translation.replace("\0", "")) or ()
        pieces = _timed(_pieces(self._rendered(tree)) or [""], self._times)
        pieces[0] = self._prefix + pieces[0]
        pieces[-1] += self._suffix
        lines = _wrapped(pieces, len(self.lines))
        if _SPLIT_BY_LINES.search("\n".join(self.lines)):
            lines = _closed(lines)
        return [line for line in lines if line.strip()]

    def _add(self, nodes: Sequence[_Marked], text: markup.Paragraph) -> None:
        for is_text, run in groupby(nodes, key=lambda node: isinstance(node, str)):
            if is_text:
                self._add_text("".join(map(str, run)), text)
            else:
                self._add_tags(run, text)

    def _add_text(self, node: str, text: markup.Paragraph) -> None:
        words = html.unescape(node) if self._has_references else node
        literals = text.add_text(words)
        self._tags |= {number: (self._escaped(each), "") for number, each in literals}

    def _add_tags(self, nodes: Iterable[_Marked], text: markup.Paragraph) -> None:
        for node in nodes:
            if isinstance(node, _LoneTag):
                self._tags[text.add_single()] = node.tag, ""
            elif isinstance(node, _TagPair):
                number = text.open_span()
                self._tags[number] = node.opening, node.closing
                self._add(node.children, text)
                text.close_span(number)

    def _rendered(self, nodes: Sequence[markup.Node]) -> str:
        parts = []
        for node in nodes:
            if isinstance(node, str):
                parts.append(self._escaped(node))
            else:
                children = node.children if isinstance(node, markup.Span) else ()
                opening, closing = self._tags[node.number]
                parts += [opening, self._rendered(children), closing]
        return "".join(parts)

    def _escaped(self, text: str) -> str:
        return html.escape(text, quote=False) if self._has_references else text


def _without_times(text: str) -> tuple[str, list[tuple[float, str]]]:
    """``text`` without `_TIMES`, and the share of the text that is before each."""
    parts = _TIMES.split(text)
    texts, times = parts[::2], parts[1::2]
    lengths = [len(_TAGS.sub("", part)) for part in texts]
    total = max(1, sum(lengths))
    shares = [before / total for before in accumulate(lengths)]
    return "".join(texts), list(zip(shares, times, strict=False))


def _timed(pieces: Sequence[str], times: Sequence[tuple[float, str]]) -> list[str]:
    """``pieces``, each of ``times`` before the one that begins nearest to its share."""
    begins = list(accumulate(map(_width, pieces), initial=0))
    before: list[list[str]] = [[] for _ in pieces]
    for share, time in times:
        place = share * begins[-1]
        k = bisect_left(begins, place, 1, len(pieces))
        if k == len(pieces) or place - begins[k - 1] <= begins[k] - place:
            k -= 1
        before[k].append(time)
    return ["".join([*found, piece]) for found, piece in zip(before, pieces, strict=True)]


def _width(piece: str) -> int:
    """Columns of what is seen of ``piece``."""
    return columns(_TAGS.sub("", piece))


def _speakers(lines: Sequence[str]) -> list[list[str]]:
    """Cut ``lines`` before each that begins with a dash, and around blank ones."""
    speakers: list[list[str]] = []
    for line in lines:
        if not speakers or not line.strip() or not speakers[-1][-1].strip() or _SPEAKER.match(line):
            speakers.append([])
        speakers[-1].append(line)
    return speakers


def _parsed(text: str) -> list[_Marked]:
    """Parse ``text`` into a tree; a tag without its counterpart is a lone one."""
    stack: list[tuple[str, list[_Marked]]] = [("", [])]
    for token in _TAGS.split(text):
        opening, children = stack[-1]
        if not _TAGS.fullmatch(token):
            if token:
                children.append(token)
        elif token.startswith("</") and opening and _name(opening) == _name(token):
            stack.pop()
            stack[-1][1].append(_TagPair(opening, token, children))
        elif _opens(token) and len(stack) <= _DEEPEST:
            stack.append((token, []))
        else:
            children.append(_LoneTag(token))
    nodes = stack[0][1]
    for opening, children in stack[1:]:
        nodes += [_LoneTag(opening), *children]
    return _merged(nodes)


def _opens(tag: str) -> bool:
    return not tag.startswith(("</", "{")) and not tag.endswith("/>") and _name(tag) != "br"


def _name(tag: str) -> str:
    return tag.strip("</>").split()[0].lower()


def _merged(nodes: Sequence[_Marked]) -> list[_Marked]:
    """``nodes``, in which pairs of the same tag with only space between them are one."""
    merged: list[_Marked] = []
    open_at = 0  # index of the pair that may go on
    for node in nodes:
        before = merged[open_at] if merged else None
        if (
            isinstance(node, _TagPair)
            and isinstance(before, _TagPair)
            and node.opening == before.opening
        ):
            space = merged[open_at + 1 :]
            del merged[open_at + 1 :]
            merged[open_at] = _TagPair(before.opening, node.closing, before.children)
            before.children.extend([*space, *node.children])
        else:
            if not (isinstance(node, str) and not node.strip() and len(merged) == open_at + 1):
                open_at = len(merged)
            merged.append(node)
    for node in merged:
        if isinstance(node, _TagPair):
            node.children[:] = _merged(node.children)
    return merged


def _stripped(nodes: Iterable[_Marked]) -> tuple[list[_Marked], str, str]:
    """The nodes within all tags, space and dash around them; then what was before and after."""
    left = deque(nodes)
    prefix: list[str] = []
    suffix: list[str] = []  # from the end
    while left:
        first, last = left[0], left[-1]
        if isinstance(first, _LoneTag):
            prefix.append(first.tag)
            left.popleft()
        elif isinstance(last, _LoneTag):
            suffix.append(last.tag)
            left.pop()
        elif isinstance(first, str) and (match := _DASH.match(first) or _AROUND.match(first)):
            prefix.append(match.group())
            left[0] = first[match.end() :]
        elif isinstance(last, str) and (match := _AROUND.match(last[::-1])):
            suffix.append(match.group()[::-1])
            left[-1] = last[: -match.end()]
        elif not first:
            left.popleft()
        elif not last:
            left.pop()
        elif isinstance(first, _TagPair) and len(left) == 1:
            prefix.append(first.opening)
            suffix.append(first.closing)
            left = deque(first.children)
        else:
            break
    return list(left), "".join(prefix), "".join(reversed(suffix))


def _pieces(text: str) -> list[str]:
    """``text`` cut where a line may end: never in a tag or between it and its text."""
    tags = iter(_TAGS.findall(text))
    pieces: list[str] = []
    opening = ""
    for chunk in chunks(_SPACE.sub(" ", _TAGS.sub("\0", text)).strip()):
        piece = _STAND_IN.sub(lambda _: next(tags), chunk)
        if chunk.strip("\0 "):
            pieces.append(opening + piece)
            opening = ""
        elif pieces and piece.startswith("</"):
            pieces[-1] += piece
        else:
            opening += piece
    return [*pieces, opening] if opening else pieces


def _wrapped(pieces: Sequence[str], n_lines: int) -> list[str]:
    """Lines about equally long, as few as ``n_lines`` unless one would be too long."""
    widths = [_width(piece) for piece in pieces]

    def begins(most: int) -> list[int]:
        """Indices of the pieces that begin a line if lines have up to ``most`` columns."""
        found: list[int] = []
        filled = 0
        for i, width in enumerate(widths):
            visible = width - (pieces[i].endswith(" "))
            if not found or filled + visible > most:
                found.append(i)
                filled = 0
            filled += width
        return found

    n_lines = max(n_lines, len(begins(MOST_COLUMNS)))
    best = bisect_left(range(sum(widths)), x=True, key=lambda most: len(begins(most)) <= n_lines)
    ends = [*begins(best)[1:], len(pieces)]
    return ["".join(pieces[a:b]).strip() for a, b in pairwise([0, *ends])]


def _closed(lines: Sequence[str]) -> list[str]:
    """``lines``, each of which closes its open tags, which the next one opens again."""
    closed: list[str] = []
    opened: list[str] = []
    for line in lines:
        again = "".join(opened)
        for tag in _TAGS.findall(line):
            if tag.startswith("</"):
                if opened and _name(opened[-1]) == _name(tag):
                    opened.pop()
            elif _opens(tag):
                opened.append(tag)
        closed.append(again + line + "".join(f"</{_name(tag)}>" for tag in reversed(opened)))
    return closed
