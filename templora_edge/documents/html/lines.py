"""Lines of verse: items cut at line breaks, also at those inside of spans."""

import re
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Final

from lxml.etree import _Element

from templora_edge.documents.html.inline import (
    XmlItem,
    contents,
    fill,
    is_margin,
    is_single,
    local_name,
)

_LINE_ENDS: Final = re.compile(r"(\r\n?|\n)")


def is_break(item: XmlItem, *, preformatted: bool = False) -> bool:
    """Whether ``item`` ends a line."""
    if isinstance(item, str):
        return preformatted and item in ("\n", "\r", "\r\n")
    return local_name(item) == "br"


def split_contents(element: _Element) -> list[XmlItem]:
    """Contents of ``element``, in which the line ends of preformatted text are items."""
    items = contents(element)
    return cut_at_line_ends(items) if local_name(element) == "pre" else items


def cut_at_line_ends(items: Iterable[XmlItem]) -> list[XmlItem]:
    """``items`` with each line end of a text as an item of its own."""
    cut: list[XmlItem] = []
    for item in items:
        cut += [item] if not isinstance(item, str) else filter(None, _LINE_ENDS.split(item))
    return cut


def lifted(
    items: Sequence[XmlItem], *, preformatted: bool = False, copy: bool = False
) -> Sequence[XmlItem]:
    """``items`` in which no element but those without words has a line break inside.

    A span around a line break becomes two of the same look.

    Args:
        copy: Leave the elements of ``items`` as they are.
    """
    if not any(_holds_break(item, preformatted) for item in items):
        return items
    flat: list[XmlItem] = []
    for item in items:
        if isinstance(item, str) or not _holds_break(item, preformatted):
            flat.append(item)
        else:
            flat += _split(deepcopy(item) if copy else item, preformatted)
    return flat


def lines_and_gaps(
    items: Sequence[XmlItem], *, preformatted: bool = False
) -> tuple[list[list[XmlItem]], list[list[XmlItem]]]:
    """Lines with words, and what stands before, between and after them: one more."""
    lines: list[list[XmlItem]] = []
    gaps: list[list[XmlItem]] = [[]]
    line: list[XmlItem] = []

    def end_line() -> None:
        if all(is_margin(item) for item in line):
            gaps[-1].extend(line)
        else:
            lines.append(line)
            gaps.append([])

    for item in items:
        if is_break(item, preformatted=preformatted):
            end_line()
            gaps[-1].append(item)
            line = []
        else:
            line.append(item)
    end_line()
    return lines, gaps


def _holds_break(item: XmlItem, preformatted: bool) -> bool:
    if isinstance(item, str) or is_single(item):
        return False
    return any(
        local_name(inner) == "br"
        or (preformatted and ("\n" in (inner.text or "") or "\n" in (inner.tail or "")))
        for inner in item.iterdescendants()
    ) or (preformatted and "\n" in (item.text or ""))


def _split(element: _Element, preformatted: bool) -> list[XmlItem]:
    inner = contents(element)
    if preformatted:
        inner = cut_at_line_ends(inner)
    groups: list[list[XmlItem]] = [[]]
    for item in lifted(inner, preformatted=preformatted):
        if is_break(item, preformatted=preformatted):
            groups += [[item], []]
        else:
            groups[-1].append(item)
    attributes = {
        str(key): str(value) for key, value in element.attrib.items() if key not in ("id", "name")
    }
    pieces: list[XmlItem] = []
    for number, group in enumerate(groups):
        if number % 2:
            pieces += group
        elif not number or group:
            shell = element if not number else element.makeelement(element.tag, attributes)
            fill(shell, group)
            pieces.append(shell)
    return pieces
