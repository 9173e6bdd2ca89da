"""One line of a passage: its text with placeholders, and its items made anew from a translation."""

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from lxml.etree import _Element

from templora_edge.documents.document import has_letters
from templora_edge.documents.html.inline import (
    XmlItem,
    base_text,
    contents,
    fill,
    is_invisible,
    is_margin,
    is_ruby,
    is_single,
    local_name,
    second_copy,
    string,
    tag_beside,
)
from templora_edge.documents.html.language import is_foreign
from templora_edge.documents.markup import Node, Paragraph, Single, parse, plain, shown, whole
from templora_edge.documents.xml_file import ILLEGAL

_TEXT: Final = ("text",)
_SINGLE: Final = ("single",)
_RUBY: Final = ("ruby",)
_BESIDE: Final = ("beside",)

_Look = tuple[str, ...]
"""A key for an item; neighbours with the same key share a placeholder."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The items around a text in an element that holds all of it."""

    element: _Element | None
    """None for the block."""
    before: Sequence[XmlItem]
    after: Sequence[XmlItem]


class Line:
    """Items without a line break, and with some words.

    Args:
        paragraph: Gets the text of the line, its placeholders numbered after those it has.
        languages: See `Passage`.
    """

    def __init__(
        self, items: Sequence[XmlItem], paragraph: Paragraph, languages: frozenset[str]
    ) -> None:
        self._languages = languages
        self._layers, items = peeled(items, languages)
        self._source = items
        self._beside: list[tuple[int, _Element]] = []
        self._length, self._ends_with_space = 0, True
        self.has_own_words = False
        """Whether it has letters that are not kept as they are."""
        self._pieces: dict[int, list[XmlItem]] = {}
        self._paragraph = paragraph
        paragraph.begin_line()
        if all(is_ruby(item) for item in items):
            self._add_text(base_text(items))
        else:
            self._add(items)
        self._marked = paragraph.marked_line
        self.text = shown(self._marked)

    def translated(self, translation: str, line_break: XmlItem | None) -> list[XmlItem]:
        """The translated items, after the source and ``line_break`` if there is one."""
        nodes = parse(whole(translation, self._marked)) or (plain(translation),)
        if line_break is None:
            items = _placed(self._built(nodes, self._pieces), self._beside, self._length)
        else:
            copies = {number: second_copy(found) for number, found in self._pieces.items()}
            items = [*self._source, line_break, *self._built(nodes, copies)]
        return wrapped(self._layers, items)

    def _add(self, items: Iterable[XmlItem]) -> None:
        for look, found in _groups(_opened(items)):
            if look in (_TEXT, _BESIDE):
                for item in found:
                    if isinstance(item, str):
                        self._add_text(item)
                    else:
                        self._beside.append((self._length, item))
            elif look == _SINGLE:
                self._pieces[self._paragraph.add_single()] = found
                self._ends_with_space = False
            else:
                self._add_span(look, found)

    def _add_span(self, look: _Look, found: list[XmlItem]) -> None:
        own = self.has_own_words
        number = self._paragraph.open_span()
        self._pieces[number] = found
        self._ends_with_space = False
        if look == _RUBY:
            self._add_text(base_text(found))
        else:
            self._add(_joined(found))
        self._paragraph.close_span(number)
        self._ends_with_space = False
        if self._is_foreign(found[0]):
            self.has_own_words = own

    def _add_text(self, text: str) -> None:
        text = flowing(text)
        if self._ends_with_space:
            text = text.removeprefix(" ")
        if not text:
            return
        self._ends_with_space = text.endswith(" ")
        self.has_own_words |= has_letters(text)
        self._length += len(text)
        for number, literal in self._paragraph.add_text(text):
            self._pieces[number] = [literal]

    def _is_foreign(self, item: XmlItem) -> bool:
        return _is_foreign(item, self._languages)

    def _built(
        self, nodes: Iterable[Node], pieces: Mapping[int, Sequence[XmlItem]]
    ) -> list[XmlItem]:
        """The nodes of a translation as items, made of the elements in ``pieces``."""
        items: list[XmlItem] = []
        for node in nodes:
            if isinstance(node, str):
                items.append(ILLEGAL.sub("", node))
                continue
            found = pieces.get(node.number, ())
            if not found or isinstance(node, Single):
                items += found
                continue
            if self._is_foreign(found[0]):
                items += found
                continue
            children = self._built(node.children, pieces)
            if is_ruby(found[0]):
                # with another text, the reading would be of other words
                items += found if children == [flowing(base_text(found))] else children
                continue
            span = next(item for item in found if not isinstance(item, str))
            fill(span, children)
            items.append(span)
        return items


def peeled(
    items: Sequence[XmlItem], languages: frozenset[str]
) -> tuple[list[Layer], Sequence[XmlItem]]:
    """The layers around a text that spans of one look hold, from the outermost; and the text."""
    layers: list[Layer] = []
    element = None
    while True:
        before, items, after = _trimmed(items)
        layers.append(Layer(element, before, after))
        groups = _groups(items)
        if len(groups) != 1:
            return layers, items
        look, found = groups[0]
        if look in (_TEXT, _SINGLE, _RUBY) or _is_foreign(found[0], languages):
            return layers, items
        items = _joined(found)
        element = next(item for item in found if not isinstance(item, str))


def wrapped(layers: Sequence[Layer], items: Sequence[XmlItem]) -> list[XmlItem]:
    """``items`` in the place of what was in ``layers``."""
    whole = list(items)
    for layer in reversed(layers):
        whole = [*layer.before, *whole, *layer.after]
        if layer.element is not None:
            fill(layer.element, whole)
            whole = [layer.element]
    return whole


def _is_foreign(item: XmlItem, languages: frozenset[str]) -> bool:
    return not isinstance(item, str) and is_foreign(item, languages)


def flowing(text: str) -> str:
    """``text`` as it is displayed: white space collapsed, without soft hyphens."""
    return re.sub(r"[ \t\r\n\f]+", " ", text.replace("\u00ad", ""))


def _trimmed(items: Sequence[XmlItem]) -> tuple[list[XmlItem], list[XmlItem], list[XmlItem]]:
    """``items`` as margin, line and margin."""
    begin, end = 0, len(items)
    while begin < end and is_margin(items[begin]):
        begin += 1
    while begin < end and is_margin(items[end - 1]):
        end -= 1
    before, rest, after = list(items[:begin]), list(items[begin:end]), list(items[end:])
    if rest and isinstance(first := rest[0], str):
        rest[0] = first.lstrip()
        before.append(first[: len(first) - len(first.lstrip())])
    if rest and isinstance(last := rest[-1], str):
        rest[-1] = last.rstrip()
        after.insert(0, last[len(last.rstrip()) :])
    return before, rest, after


def _groups(items: Iterable[XmlItem]) -> list[tuple[_Look, list[XmlItem]]]:
    """Runs of one look; spaces and what is invisible between two of them do not part them."""
    groups: list[tuple[_Look, list[XmlItem]]] = []
    for item in items:
        look = _look(item)
        if groups and groups[-1][0] == look:
            groups[-1][1].append(item)
        elif (n := _gap_after_same(groups, look)) is not None:
            between = [one for _, found in groups[n + 1 :] for one in found]
            del groups[n + 1 :]
            groups[n][1].extend([*between, item])
        else:
            groups.append((look, [item]))
    return groups


def _gap_after_same(groups: Sequence[tuple[_Look, list[XmlItem]]], look: _Look) -> int | None:
    """The index of the group that goes on with an item of ``look``."""
    if look in (_SINGLE, _BESIDE, _RUBY):
        return None
    for n in reversed(range(len(groups))):
        found_look, found = groups[n]
        if found_look == look:
            return n
        is_space = found_look == _TEXT and not "".join(map(str, found)).strip()
        if found_look != _BESIDE and (look == _TEXT or not is_space):
            return None
    return None


def _look(item: XmlItem) -> _Look:
    if isinstance(item, str):
        return _TEXT
    if is_single(item):
        return _BESIDE if is_invisible(item) else _SINGLE
    if is_ruby(item):
        return _RUBY
    attributes = sorted((str(k), str(v)) for k, v in item.attrib.items() if k != "id")
    return (item.tag, *(part for attribute in attributes for part in attribute))


def _joined(items: Iterable[XmlItem]) -> list[XmlItem]:
    """Contents of a run of spans, whose first one will hold them all."""
    joined: list[XmlItem] = []
    is_first = True
    for item in items:
        if isinstance(item, str) or (is_single(item) and is_invisible(item)):
            joined.append(item)
            continue
        joined += contents(item) if is_first else [*_anchor(item), *contents(item)]
        is_first = False
    return joined


def _opened(items: Iterable[XmlItem]) -> list[XmlItem]:
    """``items`` with the contents of spans that change nothing in their place."""
    opened: list[XmlItem] = []
    for item in items:
        if isinstance(item, str) or is_single(item) or not _is_plain_span(item):
            opened.append(item)
        else:
            opened += [*_anchor(item), *_opened(contents(item))]
    return opened


def _is_plain_span(element: _Element) -> bool:
    return local_name(element) == "span" and not set(element.attrib) - {"id"}


def _anchor(element: _Element) -> list[XmlItem]:
    """An empty span with the name of ``element``, if it has one."""
    name = element.get("id")
    return [element.makeelement(tag_beside(element, "span"), {"id": name})] if name else []


def _placed(
    items: Sequence[XmlItem], beside: Iterable[tuple[int, _Element]], length: int
) -> list[XmlItem]:
    """``items`` with what is invisible put in, at the share of the text it had in the source."""
    sizes = [len(item if isinstance(item, str) else string(item)) for item in items]
    begins = list(accumulate(sizes, initial=0))
    places: defaultdict[int, list[tuple[int, _Element]]] = defaultdict(list)
    """Item -> offsets in it, and what stands there."""
    words: dict[int, list[int]] = {}
    for at, element in beside:
        target = round(at / length * begins[-1]) if length else 0
        n = bisect_right(begins, target, 1) - 1
        inside = target - begins[n]
        item = items[n] if n < len(items) else None
        if isinstance(item, str):
            if n not in words:
                words[n] = [0, *(m.end() for m in re.finditer(r"\s+", item)), len(item)]
            k = bisect_left(words[n], inside)
            near = words[n][max(k - 1, 0) : k + 1]
            inside = min(near, key=lambda word: abs(word - inside))
        elif item is not None:
            n, inside = (n + 1, 0) if 2 * inside > sizes[n] else (n, 0)
        places[n].append((inside, element))
    placed: list[XmlItem] = []
    for n, item in enumerate([*items, ""]):
        end = 0
        for inside, element in places[n]:
            if isinstance(item, str):
                placed.append(item[end:inside])
                end = inside
            placed.append(element)
        placed.append(item[end:] if isinstance(item, str) else item)
    return [item for item in placed if not isinstance(item, str) or item]
