"""Inline markup as placeholders, which a translation must keep.

`<1>…</1>` stands for a span (emphasis, a link), `<2/>` for something without text (an image, the
mark of a note). Numbers count from 1 in each paragraph, in reading order. A document
knows what each number stands for.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

PLACEHOLDER: Final = re.compile(r"<(/?)([1-9][0-9]{0,5})(/?)>")
UNGROUPED: Final = PLACEHOLDER.pattern.replace("(", "(?:")
"""The pattern of a placeholder without groups, as a part of others."""


@dataclass(frozen=True, slots=True)
class Span:
    """Markup around text: `<number>children</number>`."""

    number: int
    children: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Single:
    """Markup without text of its own: `<number/>`."""

    number: int


Node = str | Span | Single


def parse(text: str) -> tuple[Node, ...] | None:
    """Parse ``text`` into a tree; None if its spans are not properly nested."""
    stack: list[tuple[int, list[Node]]] = [(0, [])]
    end = 0
    for match in PLACEHOLDER.finditer(text):
        closing, number, single = match.group(1), int(match.group(2)), match.group(3)
        if match.start() > end:
            stack[-1][1].append(text[end : match.start()])
        end = match.end()
        if closing and single:
            return None
        if single:
            stack[-1][1].append(Single(number))
        elif not closing:
            stack.append((number, []))
        else:
            opened, children = stack.pop()
            if not stack or opened != number:
                return None
            stack[-1][1].append(Span(number, tuple(children)))
    if len(stack) > 1:
        return None
    if end < len(text):
        stack[0][1].append(text[end:])
    return tuple(stack[0][1])


def is_balanced(text: str) -> bool:
    """Whether every span of ``text`` is closed, properly nested."""
    return parse(text) is not None


def plain(text: str) -> str:
    """``text`` without placeholders, also without those that appear when others are removed."""
    removed = 1
    while removed:
        text, removed = PLACEHOLDER.subn("", text)
    return text


def singles(text: str) -> list[int]:
    """Numbers of the placeholders without text."""
    return [int(match.group(2)) for match in PLACEHOLDER.finditer(text) if match.group(3)]


def is_kept(source: str, translation: str) -> bool:
    """Whether ``translation`` has every placeholder of ``source`` once, properly nested."""
    found = [
        Counter(m.group() for m in PLACEHOLDER.finditer(text)) for text in (source, translation)
    ]
    return found[0] == found[1] and is_balanced(translation)


def without_spans(source: str, translation: str) -> str:
    """``translation`` as plain text, followed by the single placeholders of ``source``."""
    return plain(translation) + "".join(f"<{number}/>" for number in singles(source))


def closed(pieces: Sequence[str]) -> list[str]:
    """``pieces`` of a text, with each span that was cut closed in one and opened in the next.

    Where nothing of such a span is left in a piece, the piece goes without it. `merged` undoes it.
    """
    opened: list[str] = []
    done = []
    for piece in pieces:
        before = opened.copy()
        for match in PLACEHOLDER.finditer(piece):
            if match[1]:
                opened.remove(match[2])
            elif not match[3]:
                opened.append(match[2])
        inner = piece.strip()
        head, tail = piece.split(inner, 1) if inner else (piece, "")
        text = "".join(f"<{number}>" for number in before) + inner
        text += "".join(f"</{number}>" for number in reversed(opened))
        cut = "|".join({*before, *opened})
        empty = re.compile(rf"<({cut})></\1>") if cut else None
        while empty and (fewer := empty.sub("", text)) != text:
            text = fewer
        done.append(head + text + tail)
    return done


def merged(text: str) -> str:
    """``text`` in which a span that was closed and opened again goes on in between."""
    matches = [match for match in PLACEHOLDER.finditer(text) if not match[3]]
    first = {match.group(): match.start() for match in reversed(matches)}
    last = {match.group(): match.start() for match in matches}

    def once(match: re.Match[str]) -> str:
        is_kept = match[3] or (last if match[1] else first)[match.group()] == match.start()
        return match.group() if is_kept else ""

    return PLACEHOLDER.sub(once, text)
