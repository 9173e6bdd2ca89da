"""The text of one XML file of a book: XHTML, or the table of contents of EPUB 2 (NCX)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lxml.etree import _Element

from templora_edge.documents.epub.inline import (
    XmlItem,
    contents,
    fill,
    is_single,
    local_name,
    tag_beside,
)
from templora_edge.documents.epub.passage import Passage
from templora_edge.documents.xml_file import XmlFile

# HTML's elements that begin on a line of their own
_BLOCKS: Final = frozenset((
    "address", "article", "aside", "blockquote", "body", "caption", "center", "col", "colgroup",
    "dd", "details", "dialog", "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure",
    "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hgroup", "hr",
    "html", "legend", "li", "main", "menu", "nav", "ol", "p", "pre", "section", "summary",
    "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
))  # fmt: skip
_LANGUAGES: Final = ("lang", "{http://www.w3.org/XML/1998/namespace}lang")


@dataclass(frozen=True, slots=True)
class Kind:
    """How the files of a format are translated."""

    passages: Callable[[_Element], Iterator[Passage]]
    """Returns the passages of an element, in reading order."""
    line_break: Callable[[_Element], XmlItem]
    """Returns what separates source and translation in the tree of this root."""
    is_html: bool


class BookFile:
    """A file of a book that contains text.

    Args:
        name: Name of the file, for messages.

    Raises:
        DocumentError: `XmlFile` cannot read it.
    """

    def __init__(self, data: bytes, name: str, kind: Kind) -> None:
        self._data, self._kind = data, kind
        self._file = XmlFile(data, name, is_html=kind.is_html)
        self._passages = [passage for passage in kind.passages(self._file.root) if passage.text]

    @property
    def paragraphs(self) -> list[str]:
        """The texts to translate, in reading order."""
        return [passage.text for passage in self._passages]

    def translated(self, translations: Sequence[str], *, language: str, bilingual: bool) -> bytes:
        """The file with ``translations``. This uses up its tree, so it can be called once.

        If nothing changes, these are the very bytes that were read.
        """
        root = self._file.root
        tags = [
            (element, tag)
            for element in (root, *root.findall("{*}body"))
            for tag in _LANGUAGES
            if element.get(tag) not in (None, language)
        ]
        is_same = not bilingual and translations == self.paragraphs and not tags
        if is_same or not self._passages:
            return self._data
        for element, tag in tags:
            element.set(tag, language)
        changes: dict[_Element, list[tuple[Passage, str]]] = {}
        for passage, translation in zip(self._passages, translations, strict=True):
            if bilingual or translation != passage.text:
                changes.setdefault(passage.block, []).append((passage, translation))
        for block, pairs in changes.items():
            old, new, end = contents(block), list[XmlItem](), 0
            for passage, translation in pairs:
                line_break = self._kind.line_break(root) if bilingual else None
                new += old[end : passage.start] + passage.translated(translation, line_break)
                end = passage.stop
            fill(block, new + old[end:])
        return self._file.to_bytes()


def _xhtml_passages(block: _Element) -> Iterator[Passage]:
    """The passages between blocks or pairs of line breaks, and inside blocks."""
    start = 0
    previous = ""
    items = contents(block)
    for stop, item in enumerate(items):
        if isinstance(item, str):
            previous = previous if not item.strip() else ""
            continue
        if _is_block(item) or previous == local_name(item) == "br":
            yield Passage(block, start, items[start:stop])
            start = stop + 1
            if not is_single(item):
                yield from _xhtml_passages(item)
        previous = local_name(item)
    yield Passage(block, start, items[start:])


def _is_block(element: _Element) -> bool:
    """Whether ``element`` is a block, or an inline element around blocks."""
    if local_name(element) in _BLOCKS:
        return True
    return not is_single(element) and any(
        local_name(inner) in _BLOCKS for inner in element.iter("*")
    )


def _ncx_passages(root: _Element) -> Iterator[Passage]:
    """All labels but page numbers (NCX, ANSI/NISO Z39.86-2005, section 8)."""
    for label in root.iter("{*}docTitle", "{*}navLabel"):
        parent = label.getparent()
        if parent is not None and local_name(parent) != "pageTarget":
            for text in label.findall("{*}text"):
                yield Passage(text, 0, contents(text))


def _html_break(root: _Element) -> XmlItem:
    return root.makeelement(tag_beside(root, "br"))


XHTML: Final = Kind(_xhtml_passages, _html_break, is_html=True)
NCX: Final = Kind(_ncx_passages, lambda _: " / ", is_html=False)
"""Tables of contents of EPUB 2, whose labels are one line each."""
