"""The passages of a tree of HTML elements, in reading order, and what is left as it is."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from lxml.etree import _Element

from templora_edge.documents.document import has_letters
from templora_edge.documents.html.inline import (
    XmlItem,
    is_page_number,
    is_single,
    local_name,
    string,
)
from templora_edge.documents.html.language import is_foreign, language_of
from templora_edge.documents.html.lines import is_break, split_contents
from templora_edge.documents.html.passage import AttributeText, Passage

# HTML's elements that begin on a line of their own, and DTBook's
_BLOCKS: Final = frozenset((
    "address", "article", "aside", "blockquote", "body", "caption", "center", "col", "colgroup",
    "datalist", "dd", "details", "dialog", "dir", "div", "dl", "dt", "fieldset", "figcaption",
    "figure", "footer", "form", "frameset", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header",
    "hgroup", "hr", "html", "legend", "li", "main", "menu", "nav", "noframes", "noscript", "ol",
    "optgroup", "option", "p", "pre", "search", "section", "select", "stray", "summary", "table",
    "tbody", "td", "textarea", "tfoot", "th", "thead", "title", "tr", "ul",
    "book", "bodymatter", "docauthor", "doctitle", "frontmatter", "imggroup", "level", "level1",
    "level2", "level3", "level4", "level5", "level6", "lic", "line", "linegroup", "list", "note",
    "poem", "prodnote", "rearmatter", "sidebar",
))  # fmt: skip
_PLAIN: Final = frozenset(("desc", "option", "text", "textarea", "title", "tspan"))
"""Elements whose text has no markup, so that no `br` can stand in it."""
_SEPARATOR: Final = " / "
_ATTRIBUTES: Final = ("alt", "title", "aria-label", "aria-description", "placeholder", "summary")
_META: Final = frozenset(("description", "og:title", "og:description", "twitter:title",
    "twitter:description"))  # fmt: skip
_UNREAD: Final = frozenset(("script", "style", "template"))
_CODE_CLASS: Final = re.compile(
    r"(?:^|[\s_-])(?:code|console|highlight|hljs|lang(?:uage)?-\S+|listing|literal-block|prettyprint"
    r"|programlisting|screen|shell|sourceCode|terminal|verbatim)(?:$|[\s_-])",
    re.IGNORECASE,
)
_CODE_ELEMENTS: Final = frozenset(("code", "kbd", "samp", "tt", "var"))
_CODE_LINE: Final = re.compile(r"[;{}]\s*$|^\s*(?:[$#>] |#!|//|/\*|<[a-z!?/]|\w+\(.*\)\s*$)", re.I)
_SYMBOLS: Final = re.compile(r"[{}\[\]<>=+*/\\|&^%$#@~`_]")

CODE: Final = "passages of code"
FOREIGN: Final = "passages in another language"
UNTRANSLATED: Final = "passages marked as not to be translated"

Translatable = Passage | AttributeText


class Reader:
    """Finds the passages of a tree.

    Args:
        languages: See `Passage`.
    """

    def __init__(self, languages: frozenset[str]) -> None:
        self._languages = languages
        self.skipped: Counter[str] = Counter()
        """See `Document.skipped`."""

    def read(self, element: _Element, *, foreign: bool = False) -> Iterator[Translatable]:
        """The passages of ``element``, which is no part of a sentence."""
        name = local_name(element)
        if not name or name in _UNREAD or is_page_number(element):
            return
        if language_of(element):
            foreign = is_foreign(element, self._languages)
        if element.get("translate") == "no":
            self._skip(UNTRANSLATED, element)
        elif name == "pre" and is_code(element):
            self._skip(CODE, element)
        elif name == "svg":
            yield from self._drawing(element, foreign)
        elif name == "meta":
            about = (element.get("name") or element.get("property") or "").lower()
            if about in _META and not foreign:
                yield from self._attributes(element, ("content",))
        else:
            if not foreign:
                yield from self._attributes(element, _ATTRIBUTES)
            yield from self._blocks(element, foreign)

    def _blocks(self, block: _Element, foreign: bool) -> Iterator[Translatable]:
        """The passages between blocks or pairs of line breaks, and inside blocks."""
        start = 0
        after_break = False
        preformatted = local_name(block) == "pre"
        items = split_contents(block)
        for stop, item in enumerate(items):
            breaks = is_break(item, preformatted=preformatted)
            if isinstance(item, str) and not breaks:
                after_break = after_break and not item.strip()
                continue
            inner = None if isinstance(item, str) or not is_block(item) else item
            if inner is not None or (breaks and after_break):
                yield from self._passage(block, start, items[start:stop], foreign)
                start = stop + 1
                if inner is not None:
                    yield from self.read(inner, foreign=foreign)
            after_break = breaks
        yield from self._passage(block, start, items[start:], foreign)

    def _passage(
        self, block: _Element, start: int, items: Sequence[XmlItem], foreign: bool
    ) -> Iterator[Translatable]:
        name = local_name(block)
        passage = Passage(
            block,
            start,
            items,
            self._languages,
            preformatted=name == "pre",
            separator=_SEPARATOR if name in _PLAIN else None,
        )
        if foreign:
            if passage.text:
                self.skipped[FOREIGN] += 1
        elif passage.text:
            yield passage
        else:
            self._count_unread(items)
        for item in items:
            if not isinstance(item, str):
                yield from self._inside(item, foreign)

    def _inside(self, item: _Element, foreign: bool) -> Iterator[Translatable]:
        """Texts that are beside the sentence in which ``item`` stands."""
        name = local_name(item)
        if not name or name in _UNREAD or name == "math" or is_page_number(item):
            return
        if item.get("translate") == "no" or name in _CODE_ELEMENTS:
            return
        if language_of(item):
            foreign = is_foreign(item, self._languages)
        if name in ("meta", "svg"):
            yield from self.read(item, foreign=foreign)
            return
        if not foreign:
            yield from self._attributes(item, _ATTRIBUTES)
        for child in item:
            if name == "select":
                yield from self.read(child, foreign=foreign)
            else:
                yield from self._inside(child, foreign)

    def _drawing(self, svg: _Element, foreign: bool) -> Iterator[Translatable]:
        """Titles, descriptions and labels of an SVG image."""
        if foreign:
            return
        if svg.get("aria-label"):
            yield from self._attributes(svg, ("aria-label",))
        for element in svg.iter("{*}title", "{*}desc", "{*}text"):
            lines = [one for one in element.iter("{*}tspan") if one.get("y") or one.get("dy")]
            for line in lines or (element,):
                passage = Passage(
                    line, 0, split_contents(line), self._languages, separator=_SEPARATOR
                )
                if passage.text:
                    yield passage

    def _attributes(self, element: _Element, names: Sequence[str]) -> Iterator[AttributeText]:
        if local_name(element) == "input" and element.get("type", "").lower() in (
            "button",
            "reset",
            "submit",
        ):
            names = (*names, "value")
        if local_name(element) in ("optgroup", "option", "track"):
            names = (*names, "label")
        for name in names:
            text = AttributeText(element, name)
            if text.text:
                yield text

    def _skip(self, why: str, element: _Element) -> None:
        self.skipped[why] += has_letters(string(element))

    def _count_unread(self, items: Sequence[XmlItem]) -> None:
        """Count a passage that is nothing but code or the like."""
        for item in items:
            if isinstance(item, str):
                continue
            for element in item.iter("*"):
                if not has_letters(string(element)):
                    continue
                if element.get("translate") == "no":
                    self.skipped[UNTRANSLATED] += 1
                    return
                if local_name(element) == "code":
                    self.skipped[CODE] += 1
                    return
                if is_foreign(element, self._languages):
                    self.skipped[FOREIGN] += 1
                    return


def is_block(element: _Element) -> bool:
    """Whether ``element`` is a block, or an inline element around blocks."""
    if local_name(element) in _BLOCKS:
        return True
    return not is_single(element) and any(
        local_name(inner) in _BLOCKS for inner in element.iter("*")
    )


def is_code(pre: _Element) -> bool:
    """Whether the text of a `pre` element is code, by its markup or by what it looks like."""
    if any(local_name(inner) in _CODE_ELEMENTS for inner in pre.iter("*")):
        return True
    parent = pre.getparent()
    classes = " ".join((one.get("class") or "") for one in (pre, parent) if one is not None)
    if _CODE_CLASS.search(classes) or pre.get("data-type") == "programlisting":
        return True
    text = string(pre)
    lines = [line for line in text.splitlines() if line.strip()]
    symbols = len(_SYMBOLS.findall(text))
    return 3 * sum(bool(_CODE_LINE.search(line)) for line in lines) > len(lines) or 25 * symbols > (
        len("".join(text.split()))
    )
