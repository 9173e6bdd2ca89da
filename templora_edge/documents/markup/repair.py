"""Placeholders that a model damaged, moved or lost, put right in its answer."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from templora_edge.documents.markup.alignment import Alignment
from templora_edge.documents.markup.syntax import PLACEHOLDER, UNGROUPED, is_kept

_ANGLES: Final = "[<＜〈《⟨‹]", "[>＞〉》⟩›]"
_BRACKETS: Final = r"[\[({（［【｛]", r"[\])}）］】｝]"
_NUMBER: Final = r"\s*[/／\\]?\s*\d+\s*[/／\\]?\s*"
_ATTRIBUTE: Final = r"""\s+[\w:.-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s<>"'=]+)"""
_DAMAGED: Final = re.compile(
    rf"""(?P<tag>{_ANGLES[0]}{_NUMBER}{_ANGLES[1]})
    |(?P<other>{_BRACKETS[0]}{_NUMBER}{_BRACKETS[1]}      # [2] and the like
    |[<＜]\s*/?\s*\d+(?:\s*/)?(?![\d>＞])                  # without its end
    |(?:(?<![\w<＜/])/?\d+|(?<![\d<＜/])\d+/)[>＞])          # without its beginning
    |(?P<foreign></?[A-Za-z][\w:.-]*(?:{_ATTRIBUTE})*\s*/?>|\*\*)
    |(?P<cut>[<＜](?:\s*/?\s*\Z|\s+(?=</?\d)))""",
    re.VERBOSE,
)
_ESCAPES: Final = {
    **{"&lt;": "<", "&gt;": ">", "&#60;": "<", "&#62;": ">", "&amp;": "&"},
    **{r"\<": "<", r"\>": ">"},
}
_ESCAPE: Final = re.compile("|".join(map(re.escape, _ESCAPES)))
_TAGS: Final = re.compile(rf"(?:{UNGROUPED})+")
_OPENING: Final = re.compile(r"<\d+>")
_BEFORE_SPACE: Final = ".,;:!?…"

_OUTSIDE: Final = " \t\n<>＜＞〈〉《》⟨⟩‹›[](){}（）［］【】｛｝"
_SLASHES: Final = ("/", "／", "\\")

Kind = Literal["open", "close", "single"]


@dataclass(frozen=True, slots=True)
class _Tag:
    """A tag of an answer, whole or damaged."""

    offset: int
    """Place in the text without tags."""
    kind: Kind
    number: int | None
    """None if it is no number of the source."""
    is_exact: bool


@dataclass(frozen=True, slots=True)
class _Event:
    """A placeholder at its place in the answer."""

    offset: int
    rank: int
    """At one offset, what ends with the word before comes first (-1), then what the answer had (0),
    then what begins with the word after (1)."""
    order: int
    kind: Kind
    number: int
    spaces: tuple[str, str] = ("", "")
    """White space to write before and after it."""

    @property
    def key(self) -> tuple[int, int, int]:
        """Sort key: events are written in its order."""
        return self.offset, self.rank, self.order

    @property
    def written(self) -> str:
        """The placeholder."""
        slashes = {"open": ("", ""), "close": ("/", ""), "single": ("", "/")}[self.kind]
        return f"{self.spaces[0]}<{slashes[0]}{self.number}{slashes[1]}>{self.spaces[1]}"


class _Source:
    """The text of a source and where its placeholders are in it."""

    def __init__(self, source: str) -> None:
        self.marked = source
        self.spans: dict[int, tuple[int, int]] = {}
        self.singles: dict[int, int] = {}
        self.orders: dict[tuple[int, Kind], int] = {}
        opened: dict[int, int] = {}
        removed = 0  # characters of placeholders
        for order, match in enumerate(PLACEHOLDER.finditer(source)):
            place, number, kind = match.start() - removed, int(match[2]), _kind(match.group())
            removed += len(match.group())
            self.orders[number, kind] = order
            if kind == "single":
                self.singles[number] = place
            elif kind == "open":
                opened[number] = place
            elif number in opened:
                self.spans[number] = opened[number], place
        self.text = PLACEHOLDER.sub("", source)
        self._normal = _normal(self.text)

    def has(self, number: int) -> bool:
        """Whether ``number`` is one of its placeholders."""
        return number in self.spans or number in self.singles

    def place(self, event: _Event) -> int:
        """Where the placeholder of ``event`` is in the source."""
        if event.kind == "single":
            return self.singles[event.number]
        return self.spans[event.number][event.kind == "close"]

    def is_inside(self, inner: int, outer: int) -> bool:
        """Whether span ``inner`` is in span ``outer``."""
        begin, end = self.orders[outer, "open"], self.orders[outer, "close"]
        return begin < self.orders[inner, "open"] < end

    def is_initial(self, number: int) -> bool:
        """Whether span ``number`` is the beginning of a word that goes on after it."""
        begin, end = self.spans[number]
        letters = self.text[begin:end].rstrip("'’")
        follows = self.text[:begin][-1:].isalpha()
        return letters[-1:].isupper() and self.text[end : end + 1].isalpha() and not follows

    def says(self, text: str) -> bool:
        """Whether ``text`` stands in the source's own text."""
        return _normal(text) in self._normal


def repaired(source: str, answer: str) -> str:
    """``answer`` with exactly the placeholders of ``source``, properly nested, and no debris.

    Damaged ones are repaired (`<1>x<1>`, `< 1>`, `&lt;1&gt;`, `[1]`, `<i>`), missing ones are
    placed where the words around them went, and all others are removed. What looks like a
    placeholder but stands in the text of ``source`` is text. An answer that has them all and no
    debris comes back as it is.

    Args:
        source: a segment; each placeholder once, properly nested.
        answer: what a model made of it.
    """
    if answer == source:
        return answer
    read = _Source(source)
    text, tags, is_whole = _read(answer, read)
    if is_whole and is_kept(source, answer):
        return _spaced(read, answer)
    events = [*_found(tags, read)]
    pins = [(read.place(event), event.offset) for event in events]
    events += _placed(events, read, Alignment(read.text, text, pins))
    written = _written(text, sorted(events, key=lambda event: event.key), read)
    return repaired(source, written)  # what stands beside a placeholder now may look like debris


def with_markup_of(source: str, text: str) -> str:
    """``text`` as it is if it has all of the placeholders of ``source``, or else `repaired`.

    For a text that nobody needs to doubt: what looks like debris in it may be meant.
    """
    return text if is_kept(source, text) else repaired(source, text)


def _spaced(source: _Source, answer: str) -> str:
    """``answer`` with a space at placeholders where two words meet that do not in ``source``."""
    meeting = {("/", str(number), "") for number in source.spans if source.is_initial(number)}
    for match in _TAGS.finditer(source.marked):
        if _meet(match):
            meeting.update(PLACEHOLDER.findall(match.group()))
    whole, end = "", 0
    for match in _TAGS.finditer(answer):
        tags = match.group()
        whole += answer[end : match.start()]
        end = match.end()
        if _meet(match) and meeting.isdisjoint(PLACEHOLDER.findall(tags)):
            opening = _OPENING.search(tags)
            at = opening.start() if opening else len(tags)
            tags = f"{tags[:at]} {tags[at:]}"
        whole += tags
    return whole + answer[end:]


def _meet(tags: re.Match[str]) -> bool:
    """Whether ``tags`` stand between letters, of a script with spaces, or after a sentence."""
    before = tags.string[: tags.start()][-1:]
    after = tags.string[tags.end() : tags.end() + 1]
    return _is_cased(after) and (_is_cased(before) or before in tuple(_BEFORE_SPACE))


def _is_cased(character: str) -> bool:
    return character.lower() != character.upper()


def _kind(tag: str) -> Kind:
    inside = tag.strip(_OUTSIDE)
    if inside[:1] in _SLASHES:
        return "close"
    return "single" if inside[-1:] in _SLASHES else "open"


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _read(answer: str, source: _Source) -> tuple[str, list[_Tag], bool]:
    """The text of ``answer``, its tags in order, and whether nothing in it is damaged."""
    unescaped = answer
    if not _ESCAPE.search(source.text):
        while (again := _ESCAPE.sub(lambda m: _ESCAPES[m.group()], unescaped)) != unescaped:
            unescaped = again
    text, tags = _scanned(unescaped, source)
    is_whole = unescaped == answer and all(tag.is_exact for tag in tags)
    while _scanned(text, source)[1]:  # what fell together is not where it was meant
        text, tags = _scanned(text, source)[0], []
    return text, tags, is_whole


def _scanned(answer: str, source: _Source) -> tuple[str, list[_Tag]]:
    text, tags, end = "", list[_Tag](), 0
    asterisks = 0
    for match in _DAMAGED.finditer(answer):
        found = match.group()
        is_exact = PLACEHOLDER.fullmatch(found) is not None
        digits = None if match["foreign"] or match["cut"] else re.search(r"\d+", found)
        number = int(digits.group()) if digits else None
        if number is not None and not source.has(number):
            if not match["tag"]:
                continue
            number = None
        if not is_exact and source.says(found):
            continue
        text += answer[end : match.start()]
        end = match.end()
        if answer[end : end + 1] in ("", " ") and text[-1:] in ("", " ") and not is_exact:
            text = text[:-1]  # which would be two now, or one at an end
            if not text:
                end += answer[end : end + 1] == " "
        kind = _kind(found)
        if found == "**":
            kind = "close" if asterisks % 2 else "open"
            asterisks += 1
        tags.append(_Tag(len(text), kind, number, is_exact))
    return text + answer[end:], tags


def _found(tags: Sequence[_Tag], source: _Source) -> Iterator[_Event]:
    """The placeholders of ``source`` that are among ``tags``."""
    numbered: defaultdict[int | None, list[tuple[int, _Tag]]] = defaultdict(list)
    for index, tag in enumerate(tags):
        numbered[tag.number].append((index, tag))
    for number in source.singles:
        if mine := numbered[number]:
            i, tag = min(mine, key=lambda one: (one[1].kind != "single", not one[1].is_exact))
            yield _Event(tag.offset, 0, i, "single", number)
    lost = []
    for number in source.spans:
        mine = numbered[number]
        begin = next(((i, tag) for i, tag in mine if tag.kind != "close"), None)
        ends = [(i, tag) for i, tag in mine if begin is None or i > begin[0]]
        if begin is None and len(ends) > 1:  # </1>…</1>
            begin = ends.pop(0)
        end = next(((i, tag) for i, tag in ends if tag.kind == "close"), ends[0] if ends else None)
        if begin is not None:
            yield _Event(begin[1].offset, 0, begin[0], "open", number)
        if end is not None:
            yield _Event(end[1].offset, 0, end[0], "close", number)
        if begin is None and end is None:
            lost.append(number)
    for number, (opening, closing) in zip(lost, _foreign_pairs(tags), strict=False):
        yield _Event(tags[opening].offset, 0, opening, "open", number)
        yield _Event(tags[closing].offset, 0, closing, "close", number)


def _foreign_pairs(tags: Sequence[_Tag]) -> Iterator[tuple[int, int]]:
    """Indices of the ends of spans that the source does not have, such as `<i>…</i>`."""
    opened: list[int] = []
    pairs = []
    for i, tag in enumerate(tags):
        if tag.number is None and tag.kind == "open":
            opened.append(i)
        elif tag.number is None and tag.kind == "close" and opened:
            pairs.append((opened.pop(), i))
    yield from sorted(pairs)


def _placed(events: Sequence[_Event], source: _Source, alignment: Alignment) -> Iterator[_Event]:
    """The placeholders of ``source`` that are not among ``events``."""
    there = {(event.number, event.kind): event for event in events}
    ends = _ends(events, source)
    for number, place in source.singles.items():
        if (number, "single") not in there:
            single = _single(number, place, source, alignment)
            yield _beside(single, ends[single.offset, place], source)
    for number, (first, last) in source.spans.items():
        begin, end = there.get((number, "open")), there.get((number, "close"))
        if begin is not None and end is not None:
            continue
        find = alignment.initial if source.is_initial(number) else alignment.same
        same = find(first, last) if begin is end else None
        if same is not None:
            left, right = same
        else:
            left = alignment.begin(first) if begin is None else begin.offset
            right = alignment.end(last) if end is None else end.offset
        if left >= right and first < last:  # it had text
            if begin is end:
                left, right = alignment.token(first, last)
            elif end is None:
                right = alignment.token_end(left)
            else:
                left = alignment.token_begin(right)
        right = max(left, right) if end is None else right
        left = min(left, right) if begin is None else left
        if begin is None:
            rank = -1 if left == right and end is not None else 1
            yield _Event(left, rank, source.orders[number, "open"], "open", number)
        if end is None:
            rank = 1 if left == right else -1
            yield _Event(right, rank, source.orders[number, "close"], "close", number)


def _single(number: int, place: int, source: _Source, alignment: Alignment) -> _Event:
    """A single placeholder, at the word that it stands at in the source."""
    after = source.text[place : place + 1]
    order = source.orders[number, "single"]
    end = place  # of the word before
    while end and source.text[end - 1].isspace():
        end -= 1
    if not end:
        return _Event(0, -1, order, "single", number, ("", " " if after.isspace() else ""))
    if end == place:
        return _Event(alignment.end(place), -1, order, "single", number)
    if not after or after.isspace():
        return _Event(alignment.end(end), -1, order, "single", number, (" ", ""))
    return _Event(alignment.begin(place), 1, order, "single", number)


def _ends(events: Iterable[_Event], source: _Source) -> defaultdict[tuple[int, int], list[_Event]]:
    """The ends of spans among ``events``, by their place in the answer and in ``source``."""
    ends: defaultdict[tuple[int, int], list[_Event]] = defaultdict(list)
    for event in events:
        if event.kind != "single":
            ends[event.offset, source.place(event)].append(event)
    return ends


def _beside(event: _Event, ends: Iterable[_Event], source: _Source) -> _Event:
    """``event`` before or after the ``ends`` of spans that stand there, as in the source."""
    for other in ends:
        is_before = event.order < source.orders[other.number, other.kind]
        if is_before == (other.kind == "open"):
            return replace(event, rank=0, order=-1 if is_before else 1_000_000)
    return event


def _written(text: str, events: Sequence[_Event], source: _Source) -> str:
    """``text`` with ``events``; of two spans that cross, one keeps only what the other leaves."""
    ends = {event.number: event.offset for event in events if event.kind == "close"}
    opened: list[tuple[_Event, int]] = []  # and where in the pieces
    closed: set[int] = set()
    pieces: list[str] = []
    at = 0
    for event in events:
        pieces.append(text[at : event.offset])
        at = event.offset
        if event.number in closed:
            continue
        moved: list[_Event] = []
        if event.kind == "open":
            opened.append((event, len(pieces)))
        elif event.kind == "close":
            while (crossing := opened.pop())[0].number != event.number:
                inner, begun = crossing
                here = len(text[inner.offset : at].strip())
                later = len(text[at : ends[inner.number]].strip())
                if source.is_inside(inner.number, event.number) or here >= later:
                    pieces.append(f"</{inner.number}>")
                    closed.add(inner.number)
                else:
                    pieces[begun] = ""
                    moved.append(inner)
        pieces.append(event.written)
        for inner in reversed(moved):
            opened.append((inner, len(pieces)))
            pieces.append(inner.written)
    return "".join(pieces) + text[at:]
