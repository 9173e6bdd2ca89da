"""Inline tokens as a tree."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from operator import add
from typing import Final

from markdown_it.token import Token

from templora_edge.documents.markdown.content import WHITE, Markup
from templora_edge.documents.markdown.parser import DEEPEST

_TAG: Final = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9.-]*)(?:.*[^/])?>", re.DOTALL)
"""A start or end tag of HTML."""
_VOID: Final = frozenset(
    "area base br col embed hr img input link meta source track wbr".split()  # noqa: SIM905
)
"""HTML's elements without an end tag."""


@dataclass(frozen=True, slots=True)
class Element:
    """Markup around nodes, or by itself if it has no closing part."""

    opening: Markup
    closing: Markup | None = None
    children: tuple["MarkdownNode", ...] = ()
    is_word: bool = False
    """Whether the element stands for a word and is thus part of the sentence."""


MarkdownNode = str | Element


def tree(tokens: Iterable[Token]) -> tuple[MarkdownNode, ...]:
    """``tokens`` as a tree, in which matching HTML tags are elements, too."""
    opened: list[Token] = []
    levels: list[list[MarkdownNode]] = [[]]  # the tree, and what is in each of those that are open
    left = iter(tokens)
    for token in left:
        if token.type == "text":
            levels[-1].append(token.content)
        elif token.type == "softbreak":
            levels[-1].append(" ")
        elif token.info == "auto":
            levels[-1].append(Element(Markup.of(token, next(left), next(left)), is_word=True))
        elif token.nesting == 1 or (_name(token, "") is not None and len(opened) < DEEPEST):
            opened.append(token)
            levels.append([])
        elif (depth := _opener(opened, token)) is not None:
            _unwind(opened, levels, depth + 1)
            children = levels.pop()
            levels[-1].append(_element(opened.pop(), token, children))
        else:
            levels[-1].append(Element(Markup.of(token), is_word=token.type == "code_inline"))
    _unwind(opened, levels, 0)
    return _merged(levels[0])


def pieces(nodes: Iterable[MarkdownNode]) -> Iterator[str | Markup]:
    """The texts and markup of ``nodes``, without their nesting."""
    for node in nodes:
        if isinstance(node, str):
            yield node
        else:
            yield node.opening
            yield from pieces(node.children)
            if node.closing:
                yield node.closing


def _name(token: Token, slash: str) -> str | None:
    """Name of the HTML element that ``token`` begins, or, with a ``slash``, ends."""
    tag = _TAG.fullmatch(token.content) if token.type == "html_inline" else None
    name = tag[2].lower() if tag and tag[1] == slash else None
    return None if name in _VOID else name


def _opener(opened: Sequence[Token], token: Token) -> int | None:
    """Index of the token that ``token`` closes; None if there is none."""
    name = _name(token, "/")
    for index, opening in reversed(list(enumerate(opened))):
        if opening.nesting == 1:  # tags do not reach across it
            return index if token.nesting == -1 else None
        if name is not None and name == _name(opening, ""):
            return index
    return None


def _unwind(opened: list[Token], levels: list[list[MarkdownNode]], depth: int) -> None:
    """Turn the unclosed tags beyond ``depth`` into elements by themselves."""
    while len(opened) > depth:
        nodes = levels.pop()
        levels[-1] += [Element(Markup.of(opened.pop())), *nodes]


def _element(opening: Token, closing: Token, nodes: Iterable[MarkdownNode]) -> Element:
    """The element between two tokens; a single piece of markup if it has no text."""
    element = Element(Markup.of(opening), Markup.of(closing), _merged(nodes))
    whole = tuple(pieces([element]))
    if any(isinstance(piece, str) and piece.strip() for piece in whole):
        return element
    is_word = any(isinstance(node, Element) and node.is_word for node in element.children)
    return Element(
        reduce(add, (Markup.space(p) if isinstance(p, str) else p for p in whole)), is_word=is_word
    )


def _merged(nodes: Iterable[MarkdownNode]) -> tuple[MarkdownNode, ...]:
    """``nodes`` with neighbouring texts joined and white space collapsed."""
    merged: list[MarkdownNode] = []
    for is_text, run in groupby(nodes, key=lambda node: isinstance(node, str)):
        if is_text:
            text = "".join(node for node in run if isinstance(node, str))
            merged += [WHITE.sub(" ", text)] if text else []
        else:
            merged += run
    return tuple(merged)
