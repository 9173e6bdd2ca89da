"""What a paragraph of WordprocessingML is made of: text, things without text, and what holds both.

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
    Node,
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
"""Elements around text -> where in them it is."""
_NO_PIECES: Final = PROPERTIES | {qn("w:proofErr"), qn("w:lastRenderedPageBreak")}
"""And what a word processor found out about the old text."""
_TEXT_FIELDS: Final = ("HYPERLINK", "TOC", "INDEX")
"""Fields whose result is text to read; others are computed."""
_MARKS: Final = {
    _FIELD_CHARACTER,
    _INSTRUCTION,
    *(
        qn(f"w:{kind}{end}")
        for kind in ("bookmark", "commentRange", "perm", "moveFromRange", "moveToRange")
        for end in ("Start", "End")
    ),
}
"""Ends of ranges: one out of order damages the document."""
_ONCE: Final = _MARKS | {
    qn(f"w:{name}")
    for name in (
        *("footnoteReference", "endnoteReference", "commentReference"),
        *("footnoteRef", "endnoteRef", "annotationRef"),
        *("drawing", "pict", "object", "del", "moveFrom", "ins", "moveTo", "sdt"),
    )
}
"""What has an identity, or would be seen twice."""


@dataclass(frozen=True, slots=True)
class Text:
    """Running text, formatted as a run."""

    text: str
    run: etree._Element
    look: Look

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing but space."""
        return not self.text.strip()

    def nodes(self) -> list[Node]:
        """It as XML."""
        return text_nodes(self.text, self.run)


@dataclass(frozen=True, slots=True)
class Thing:
    """Something without text of its own: a line break, a picture, a computed field, a mark."""

    content: tuple[Node, ...]

    @property
    def is_mark(self) -> bool:
        """Whether it is one end of a range."""
        return len(self.content) == 1 and self.content[0][1].tag in _MARKS

    def nodes(self) -> list[Node]:
        """It as XML."""
        return list(self.content)

    def again(self) -> list[Node]:
        """It a second time in the document, as XML; nothing if it can be there only once."""
        # a whole field has no identity, though its ends are marks
        once = _ONCE - {_FIELD_CHARACTER, _INSTRUCTION} if len(self.content) > 1 else _ONCE
        if any(inner.tag in once for _, node in self.content for inner in node.iter()):
            return []
        return [(run, deepcopy(node)) for run, node in self.content]


@dataclass(frozen=True, slots=True)
class Container:
    """An element around pieces: a link, an insertion, a content control, a word with ruby."""

    run: etree._Element | None
    element: etree._Element
    pieces: "list[Piece]"

    def nodes(self) -> list[Node]:
        """It as XML."""
        return [(self.run, self.element)]

    def around(self, inner: list[Node]) -> list[Node]:
        """It with other content."""
        return [(self.run, _filled(self.element, inner))]

    def again(self, inner: list[Node]) -> list[Node]:
        """A second one with other content; the content alone if there can be only one."""
        if self.element.tag in _ONCE:
            return inner
        return [(self.run, _filled(deepcopy(self.element), inner))]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of several runs whose result is text to read."""

    head: tuple[Node, ...]
    pieces: "list[Piece]"
    tail: tuple[Node, ...]

    def nodes(self) -> list[Node]:
        """It as XML."""
        return self.around(nodes_of(self.pieces))

    def around(self, inner: list[Node]) -> list[Node]:
        """It with other content."""
        return [*self.head, *inner, *self.tail]

    def again(self, inner: list[Node]) -> list[Node]:
        """A second one with other content."""
        head, tail = (
            [(run, deepcopy(node)) for run, node in end] for end in (self.head, self.tail)
        )
        return [*head, *inner, *tail]


Piece = Text | Thing | Container | Field


def pieces_of(parent: etree._Element) -> list[Piece]:
    """Everything in a paragraph, or in an element inside it, in order."""
    pieces: list[Piece] = []
    for child in parent:
        if child.tag == _RUN:
            pieces += _pieces_of_run(child)
        elif child.tag not in _NO_PIECES:
            pieces.append(_piece(None, child))
    return _with_fields(pieces)


def nodes_of(pieces: Iterable[Piece]) -> list[Node]:
    """Pieces as XML."""
    return [node for piece in pieces for node in piece.nodes()]


def _pieces_of_run(run: etree._Element) -> Iterator[Piece]:
    look = look_of(run)
    for child in run:
        text = text_of(child)
        if text:
            yield Text(text, run, look)
        elif text is None and child.tag not in _NO_PIECES:
            yield _piece(run, child)


def _piece(run: etree._Element | None, element: etree._Element) -> Piece:
    """A container, or a thing if there is nothing to read in it."""
    hole = _HOLES.get(element.tag)
    content = None if hole is None else next(element.iter(hole), None)
    computed = element.tag == qn("w:fldSimple") and not _is_text(element.get(qn("w:instr"), ""))
    if content is not None and not computed:
        pieces = pieces_of(content)
        if _has_text(pieces):
            return Container(run, element, pieces)
    return Thing(((run, element),))


def _has_text(pieces: Sequence[Piece]) -> bool:
    return any(
        not piece.is_blank
        if isinstance(piece, Text)
        else not isinstance(piece, Thing) and _has_text(piece.pieces)
        for piece in pieces
    )


def _filled(element: etree._Element, inner: list[Node]) -> etree._Element:
    content = next(element.iter(_HOLES[element.tag]))
    empty(content)
    put(inner, content)
    return element


def _with_fields(pieces: Iterable[Piece]) -> list[Piece]:
    """Pieces from a field's begin to its end, where both are among ``pieces``, as one piece."""
    done: list[Piece] = []
    begun: list[int] = []
    for piece in pieces:
        done.append(piece)
        match _field_character(piece):
            case "begin":
                begun.append(len(done) - 1)
            case "end" if begun:
                begin = begun.pop()
                done[begin:] = [_field(done[begin:])]
    return done


def _field(pieces: Sequence[Piece]) -> Piece:
    """A field from its begin to its end."""
    characters = [_field_character(piece) for piece in pieces]
    if "separate" in characters:
        cut = characters.index("separate") + 1
        head, result, tail = nodes_of(pieces[:cut]), list(pieces[cut:-1]), pieces[-1].nodes()
        instruction = "".join(node.text or "" for _, node in head if node.tag == _INSTRUCTION)
        if _is_text(instruction) and _has_text(result):
            return Field(tuple(head), result, tuple(tail))
    return Thing(tuple(nodes_of(pieces)))


def _field_character(piece: Piece) -> str | None:
    if isinstance(piece, Thing) and piece.is_mark:
        return piece.content[0][1].get(qn("w:fldCharType"))
    return None


def _is_text(instruction: str) -> bool:
    """Whether the result of a field is text to read."""
    return instruction.strip().upper().startswith(_TEXT_FIELDS)
