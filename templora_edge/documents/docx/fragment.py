"""Content of a WordprocessingML paragraph: text, things without text, and containers of both.

Names are those of ECMA-376, part 1, 17.3 (paragraphs and runs) and 17.16 (fields).
"""

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Final

from docx.oxml.ns import qn
from lxml import etree

from templora_edge.documents.docx.run import (
    PROPERTIES,
    Look,
    RunNode,
    empty,
    look_of,
    put,
    text_nodes,
    text_of,
)

_FIELD_CHARACTER: Final = qn("w:fldChar")
_INSTRUCTION: Final = qn("w:instrText")
_RUN: Final = qn("w:r")
_HOLES: Final = {
    qn(f"w:{name}"): qn(f"w:{hole}")
    for name, hole in (
        ("hyperlink", "hyperlink"),
        ("fldSimple", "fldSimple"),
        ("ins", "ins"),
        ("moveTo", "moveTo"),
        ("smartTag", "smartTag"),
        ("customXml", "customXml"),
        ("bdo", "bdo"),
        ("dir", "dir"),
        ("sdt", "sdtContent"),
        ("ruby", "rubyBase"),
    )
}
"""Elements around text -> the element inside them that holds it."""
_NO_FRAGMENTS: Final = PROPERTIES | {qn("w:proofErr"), qn("w:lastRenderedPageBreak")}
"""Properties, and a word processor's notes on the old text."""
_TEXT_FIELDS: Final = ("HYPERLINK", "TOC", "INDEX")
"""Fields whose result is text to translate; the results of others are computed."""
_MARKS: Final = {
    _FIELD_CHARACTER,
    _INSTRUCTION,
    *(
        qn(f"w:{kind}{end}")
        for kind in ("bookmark", "commentRange", "perm", "moveFromRange", "moveToRange")
        for end in ("Start", "End")
    ),
}
"""Ends of ranges, which must stay in order."""
_INVISIBLE: Final = _MARKS - {_FIELD_CHARACTER, _INSTRUCTION} | {
    qn("w:commentReference"),
    qn("w:annotationRef"),
    qn("w:del"),
    qn("w:moveFrom"),
}
_ONCE: Final = _MARKS | {
    qn(f"w:{name}")
    for name in (
        *("footnoteReference", "endnoteReference", "commentReference"),
        *("footnoteRef", "endnoteRef", "annotationRef"),
        *("drawing", "pict", "object", "del", "moveFrom", "ins", "moveTo", "sdt"),
    )
}
"""Elements that may occur only once: they have an identity, or would be seen twice."""
_LEFT: Final = {
    _FIELD_CHARACTER: "fields",
    qn("w:fldSimple"): "fields",
    qn("w:del"): "deletions",
    qn("w:moveFrom"): "deletions",
    qn("m:oMath"): "equations",
    qn("m:oMathPara"): "equations",
}
"""Elements with text that is not translated."""


@dataclass(frozen=True, slots=True)
class RunText:
    """Text with the formatting of a run."""

    text: str
    run: etree._Element
    look: Look

    @property
    def is_blank(self) -> bool:
        """Whether the text is white space only."""
        return not self.text.strip()

    def nodes(self) -> list[RunNode]:
        """The XML it consists of."""
        return text_nodes(self.text, self.run)


@dataclass(frozen=True, slots=True)
class Thing:
    """Something without text of its own: a line break, a picture, a computed field, a mark."""

    content: tuple[RunNode, ...]

    @property
    def is_mark(self) -> bool:
        """Whether this is one end of a range, such as a bookmark."""
        return len(self.content) == 1 and self.content[0][1].tag in _MARKS

    @property
    def is_invisible(self) -> bool:
        """Whether a reader does not see it within the sentence."""
        return all(node.tag in _INVISIBLE for _, node in self.content)

    @property
    def kind(self) -> str | None:
        """Kind of its text that is left untranslated, in the plural; None if there is none."""
        if len(self.content) == 1 and self.content[0][1].tag == _FIELD_CHARACTER:
            return None  # of a field that goes on in another paragraph
        return next((_LEFT[node.tag] for _, node in self.content if node.tag in _LEFT), None)

    def nodes(self) -> list[RunNode]:
        """The XML it consists of."""
        return list(self.content)

    def again(self) -> list[RunNode]:
        """A copy for a second place in the document; empty if it may occur only once."""
        # a whole field has no identity, though its ends are marks
        once = _ONCE - {_FIELD_CHARACTER, _INSTRUCTION} if len(self.content) > 1 else _ONCE
        if any(inner.tag in once for _, node in self.content for inner in node.iter()):
            return []
        return [(run, deepcopy(node)) for run, node in self.content]


@dataclass(frozen=True, slots=True)
class Container:
    """An element around fragments: a link, an insertion, a content control, a word with ruby."""

    run: etree._Element | None
    element: etree._Element
    fragments: "list[Fragment]"

    def nodes(self) -> list[RunNode]:
        """The XML it consists of."""
        return [(self.run, self.element)]

    def around(self, inner: list[RunNode]) -> list[RunNode]:
        """The same element around ``inner``."""
        return [(self.run, _filled(self.element, inner))]

    def again(self, inner: list[RunNode]) -> list[RunNode]:
        """A copy of the element around ``inner``; ``inner`` alone if it may occur only once."""
        if self.element.tag in _ONCE:
            return inner
        return [(self.run, _filled(deepcopy(self.element), inner))]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of several runs whose result is text to translate."""

    head: tuple[RunNode, ...]
    fragments: "list[Fragment]"
    tail: tuple[RunNode, ...]

    def nodes(self) -> list[RunNode]:
        """The XML it consists of."""
        return self.around(nodes_of(self.fragments))

    def around(self, inner: list[RunNode]) -> list[RunNode]:
        """The same element around ``inner``."""
        return [*self.head, *inner, *self.tail]

    def again(self, inner: list[RunNode]) -> list[RunNode]:
        """A copy of the field around ``inner``."""
        head, tail = (
            [(run, deepcopy(node)) for run, node in end] for end in (self.head, self.tail)
        )
        return [*head, *inner, *tail]


Fragment = RunText | Thing | Container | Field


def fragments_of(parent: etree._Element) -> list[Fragment]:
    """Content of a paragraph or of an element inside it, in order."""
    fragments: list[Fragment] = []
    for child in parent:
        if child.tag == _RUN:
            fragments += _fragments_of_run(child)
        elif child.tag not in _NO_FRAGMENTS:
            fragments.append(_fragment(None, child))
    return _with_fields(fragments)


def nodes_of(fragments: Iterable[Fragment]) -> list[RunNode]:
    """The XML that ``fragments`` consist of."""
    return [node for fragment in fragments for node in fragment.nodes()]


def _fragments_of_run(run: etree._Element) -> Iterator[Fragment]:
    look = look_of(run)
    for child in run:
        text = text_of(child)
        if text:
            yield RunText(text, run, look)
        elif text is None and child.tag not in _NO_FRAGMENTS:
            yield _fragment(run, child)


def _fragment(run: etree._Element | None, element: etree._Element) -> Fragment:
    """A container, or a thing if there is nothing to translate in it."""
    hole = _HOLES.get(element.tag)
    content = None if hole is None else next(element.iter(hole), None)
    computed = element.tag == qn("w:fldSimple") and not _is_text(element.get(qn("w:instr"), ""))
    if content is not None and not computed:
        fragments = fragments_of(content)
        if _has_text(fragments):
            return Container(run, element, fragments)
    return Thing(((run, element),))


def _has_text(fragments: Sequence[Fragment]) -> bool:
    return any(
        not fragment.is_blank
        if isinstance(fragment, RunText)
        else not isinstance(fragment, Thing) and _has_text(fragment.fragments)
        for fragment in fragments
    )


def _filled(element: etree._Element, inner: list[RunNode]) -> etree._Element:
    content = next(element.iter(_HOLES[element.tag]))
    empty(content)
    put(inner, content)
    return element


def _with_fields(fragments: Iterable[Fragment]) -> list[Fragment]:
    """``fragments`` with each field that begins and ends among them as one fragment."""
    done: list[Fragment] = []
    begun: list[int] = []
    for fragment in fragments:
        done.append(fragment)
        match _field_character(fragment):
            case "begin":
                begun.append(len(done) - 1)
            case "end" if begun:
                begin = begun.pop()
                done[begin:] = [_field(done[begin:])]
    return done


def _field(fragments: Sequence[Fragment]) -> Fragment:
    """The field that ``fragments`` make up, its two ends included."""
    characters = [_field_character(fragment) for fragment in fragments]
    if "separate" in characters:
        cut = characters.index("separate") + 1
        head, result, tail = (
            nodes_of(fragments[:cut]),
            list(fragments[cut:-1]),
            fragments[-1].nodes(),
        )
        instruction = "".join(node.text or "" for _, node in head if node.tag == _INSTRUCTION)
        if _is_text(instruction) and _has_text(result):
            return Field(tuple(head), result, tuple(tail))
    return Thing(tuple(nodes_of(fragments)))


def _field_character(fragment: Fragment) -> str | None:
    if isinstance(fragment, Thing) and fragment.is_mark:
        return fragment.content[0][1].get(qn("w:fldCharType"))
    return None


def _is_text(instruction: str) -> bool:
    """Whether the result of a field is text to translate."""
    return instruction.strip().upper().startswith(_TEXT_FIELDS)
