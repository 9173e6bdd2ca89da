"""Content of elements as a list of items, and the role of each item in a sentence."""

from collections.abc import Iterable
from copy import deepcopy
from itertools import groupby
from typing import Final

from lxml.etree import _Element

from templora_edge.documents.document import has_letters

XmlItem = str | _Element
"""An item of content: an element, or a text between elements."""

# HTML's elements that are shown as something else than running text
_EMBEDDED: Final = frozenset((
    "area", "audio", "br", "canvas", "embed", "iframe", "img", "input", "map", "math", "meter",
    "object", "param", "progress", "select", "source", "svg", "textarea", "track", "video",
))  # fmt: skip
_INVISIBLE: Final = frozenset(("base", "link", "meta", "script", "style", "template", "wbr"))
_MARKS: Final = frozenset(["a", "sub", "sup"])
# values of epub:type and role
_PAGE_NUMBERS: Final = frozenset(["doc-pagebreak", "doc-pagelist", "page-list", "pagebreak"])
_ANNOTATIONS: Final = frozenset(["rp", "rt", "rtc"])


def local_name(element: _Element) -> str:
    """The tag without its namespace; empty for comments and instructions."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def tag_beside(element: _Element, name: str) -> str:
    """The tag ``name`` in the namespace of ``element``."""
    namespace, brace, _ = element.tag.rpartition("}")
    return namespace + brace + name


def contents(element: _Element) -> list[XmlItem]:
    """Text and children of ``element``, in order."""
    items: list[XmlItem] = [element.text or ""]
    for child in element:
        items += [child, child.tail or ""]
    return [item for item in items if not isinstance(item, str) or item]


def joined_contents(items: Iterable[XmlItem]) -> list[XmlItem]:
    """Contents of all elements in ``items``, in order."""
    return [inner for item in items if not isinstance(item, str) for inner in contents(item)]


def fill(element: _Element, items: Iterable[XmlItem]) -> None:
    """Replace the contents of ``element``."""
    del element[:]
    element.text = None
    for is_text, run in groupby(items, key=lambda item: isinstance(item, str)):
        if not is_text:
            for item in run:
                if not isinstance(item, str):
                    item.tail = None
                    element.append(item)
        elif len(element):
            element[-1].tail = "".join(map(str, run))
        else:
            element.text = "".join(map(str, run))


def is_ruby(item: XmlItem) -> bool:
    """Whether ``item`` is text with ruby."""
    return not isinstance(item, str) and local_name(item) == "ruby" and not is_single(item)


def is_single(element: _Element) -> bool:
    """Whether nothing in ``element`` is to be translated, so that it is a single placeholder."""
    name = local_name(element)
    if not name or name in _EMBEDDED or name in _INVISIBLE or name == "code":
        return True
    if element.get("translate") == "no" or is_page_number(element):
        return True
    if name == "ruby":  # of characters that are images
        return not base_text([element]).strip() or _is_seen(element)
    if name in _MARKS:  # of a note, or a footnote's way back
        return not has_letters(string(element))
    return all(
        is_single(item) if not isinstance(item, str) else not item.strip()
        for item in contents(element)
    )


def is_margin(item: XmlItem) -> bool:
    """Whether ``item`` is no part of a sentence that it begins or ends."""
    if isinstance(item, str):
        return not item.strip()
    stands_for_words = any(
        local_name(inner) in ("code", "math") or inner.get("translate") == "no"
        for inner in item.iter()
    )
    return is_single(item) and not stands_for_words


def base_text(rubies: Iterable[XmlItem]) -> str:
    """The text of ``rubies`` without its annotations."""
    return "".join(
        item if isinstance(item, str) else base_text([item])
        for item in joined_contents(rubies)
        if isinstance(item, str) or local_name(item) not in ("", *_ANNOTATIONS)
    )


def anchors(items: Iterable[XmlItem]) -> list[str]:
    """Names in ``items`` that links may lead to."""
    return [
        name
        for item in items
        if not isinstance(item, str)
        for element in item.iter("*")
        if (name := element.get("id") or (local_name(element) == "a" and element.get("name")))
    ]


def second_copy(items: Iterable[XmlItem]) -> list[XmlItem]:
    """Copies to stand beside ``items``, without anchors, page breaks and comments."""
    copies: list[XmlItem] = []
    for item in items:
        if isinstance(item, str):
            copies.append(item)
        elif not is_invisible(item):
            copied = deepcopy(item)
            for element in copied.iter("*"):
                element.attrib.pop("id", "")
                if local_name(element) == "a":
                    element.attrib.pop("name", "")
            copies.append(copied)
    return copies


def is_invisible(element: _Element) -> bool:
    """Whether ``element`` shows nothing: a comment, an anchor, a page break, an empty span."""
    if not local_name(element) or local_name(element) in _INVISIBLE or is_page_number(element):
        return True
    return not (string(element).strip() or _is_seen(element))


def is_page_number(element: _Element) -> bool:
    """Whether ``element`` is the break or the number of a printed page, or a list of them."""
    names = ("{http://www.idpf.org/2007/ops}type", "epub:type", "role")
    roles = set(" ".join(element.get(name) or "" for name in names).split())
    return bool(roles & _PAGE_NUMBERS) or local_name(element) == "pagenum"


def string(element: _Element) -> str:
    """All text in ``element``; empty for comments and instructions."""
    return str(element.xpath("string()")) if local_name(element) else ""


def _is_seen(element: _Element) -> bool:
    """Whether ``element`` shows something other than text."""
    return any(local_name(inner) in _EMBEDDED for inner in element.iter("*"))
