"""Passages between the boundaries of blocks: their paragraphs, and translations in their place."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from lxml.etree import _Element

from templora_edge.documents.document import has_letters
from templora_edge.documents.epub.inline import (
    XmlItem,
    anchors,
    base_text,
    fill,
    is_margin,
    is_ruby,
    is_single,
    joined_contents,
    second_copy,
    tag_beside,
)
from templora_edge.documents.markup import Node, Paragraph, Single, parse, plain
from templora_edge.documents.xml_file import ILLEGAL

_TEXT: Final = ("text",)
_SINGLE: Final = ("single",)
_RUBY: Final = ("ruby",)


@dataclass(frozen=True, slots=True)
class _Layer:
    """The items around a paragraph in an element that holds all of it."""

    element: _Element | None
    """None for the block."""
    before: Sequence[XmlItem]
    after: Sequence[XmlItem]


class Passage:
    """Items of a block's content, none of them a block.

    Args:
        start: Index of the first item in the content.
    """

    def __init__(self, block: _Element, start: int, items: Sequence[XmlItem]) -> None:
        self.block, self.start, self.stop = block, start, start + len(items)
        self._items = items
        self._layers: list[_Layer] = []
        element = None
        while True:
            before, items, after = _trimmed(items)
            self._layers.append(_Layer(element, before, after))
            looks = {_look(item) for item in items}
            if len(looks) != 1 or looks & {_TEXT, _SINGLE, _RUBY}:
                break
            element = next(item for item in items if not isinstance(item, str))
            items = joined_contents(items)
        self._source = items
        self._paragraph = Paragraph()
        self._pieces: dict[int, list[XmlItem]] = {}
        if looks == {_RUBY}:
            self._add_text(base_text(items))
        else:
            self._add(items)

    @property
    def text(self) -> str:
        """The paragraph; empty if it has no letters."""
        return self._paragraph.text if has_letters(self._paragraph.text) else ""

    def translated(self, translation: str, line_break: XmlItem | None) -> list[XmlItem]:
        """The translated items, after the source and ``line_break`` if there is one.

        They are made of the elements of the source, so this can be called once.
        """
        targets = anchors(self._items)
        nodes = parse(translation) or (plain(translation),)
        if line_break is None:
            items = _built(nodes, self._pieces)
        else:
            copies = {number: second_copy(found) for number, found in self._pieces.items()}
            items = [*self._source, line_break, *_built(nodes, copies)]
        for layer in reversed(self._layers):
            items = [*layer.before, *items, *layer.after]
            if layer.element is not None:
                fill(layer.element, items)
                items = [layer.element]
        kept = set(anchors(items))
        tag = tag_beside(self.block, "span")
        lost = [self.block.makeelement(tag, {"id": name}) for name in targets if name not in kept]
        return [*lost, *items]

    def _add(self, items: Iterable[XmlItem]) -> None:
        for look, group in groupby(items, _look):
            found = list(group)
            if look == _TEXT:
                self._add_text("".join(map(str, found)))
            elif look == _SINGLE:
                self._pieces[self._paragraph.add_single()] = found
            else:
                number = self._paragraph.open_span()
                self._pieces[number] = found
                if look == _RUBY:
                    self._add_text(base_text(found))
                else:
                    self._add(joined_contents(found))
                self._paragraph.close_span(number)

    def _add_text(self, text: str) -> None:
        for number, literal in self._paragraph.add_text(_flowing(text)):
            self._pieces[number] = [literal]


def _trimmed(items: Sequence[XmlItem]) -> tuple[list[XmlItem], list[XmlItem], list[XmlItem]]:
    """``items`` as margin, paragraph and margin."""
    rest = list(items)
    before: list[XmlItem] = []
    after: list[XmlItem] = []
    while rest and is_margin(rest[0]):
        before.append(rest.pop(0))
    while rest and is_margin(rest[-1]):
        after.insert(0, rest.pop())
    if rest and isinstance(first := rest[0], str):
        rest[0] = first.lstrip()
        before.append(first[: len(first) - len(first.lstrip())])
    if rest and isinstance(last := rest[-1], str):
        rest[-1] = last.rstrip()
        after.insert(0, last[len(last.rstrip()) :])
    return before, rest, after


def _look(item: XmlItem) -> tuple[str, ...]:
    """A key for ``item``; neighbours with the same key share a placeholder."""
    if isinstance(item, str):
        return _TEXT
    if is_single(item):
        return _SINGLE
    if is_ruby(item):
        return _RUBY
    attributes = sorted((str(key), str(value)) for key, value in item.attrib.items())
    return (item.tag, *(part for attribute in attributes for part in attribute))


def _flowing(text: str) -> str:
    """``text`` as it is displayed: white space collapsed, without soft hyphens."""
    return re.sub(r"[ \t\r\n\f]+", " ", text.replace("\u00ad", ""))


def _built(nodes: Iterable[Node], pieces: Mapping[int, Sequence[XmlItem]]) -> list[XmlItem]:
    """The nodes of a translation as items, made of the elements in ``pieces``."""
    items: list[XmlItem] = []
    for node in nodes:
        if isinstance(node, str):
            items.append(ILLEGAL.sub("", node))
            continue
        found = pieces[node.number]
        if isinstance(node, Single):
            items += found
            continue
        children = _built(node.children, pieces)
        if is_ruby(found[0]):
            # with another text, the reading would be of other words
            items += found if children == [_flowing(base_text(found))] else children
            continue
        span = next(item for item in found if not isinstance(item, str))
        fill(span, children)
        items.append(span)
    return items
