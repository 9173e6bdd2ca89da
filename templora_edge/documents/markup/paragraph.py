"""The text of a paragraph of a document, built from its pieces."""

import re
from collections.abc import Hashable
from typing import Final

from templora_edge.documents.markup.repair import repaired
from templora_edge.documents.markup.syntax import PLACEHOLDER

_MOST: Final = 1_000_000
"""Numbers of hidden things count down from here."""
_LONGEST: Final = len("</999999/>")
_HIDDEN: Final = re.compile("<99[0-9]{4}/>")
_INITIAL: Final = re.compile(
    r"^(?P<before>\W*)<(?P<number>\d+)>(?P<text>[^\w<>]*[^\W\d_]['’]?)</(?P=number)>(?=[^\W\d_])"
)
"""A first letter with a look of its own, before the rest of its word: if large, a drop cap."""


class Paragraph:
    r"""Builds the text of a paragraph from pieces of a document, with few placeholders.

    Small models lose placeholders, so each must be for something that a reader sees within the
    sentence. Line breaks and tabs are text, "\n" and "\t". What cannot be seen (comments, anchors,
    bookmarks) is hidden: it has a place in `marked`, none in `text`. Spans that are opened with
    a look are merged where they follow one another, also across white space, and dropped where they
    have no text:

        number = paragraph.open_span(look)  # perhaps that of the span before, which goes on
        ...
        if paragraph.close_span(number):    # False: it was empty, and its number will be used again
            spans.setdefault(number, element)
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._n = 0
        self._n_hidden = 0
        self._looks: dict[int, Hashable] = {}
        self._begins: dict[int, int] = {}
        self._line_begin = 0

    def begin_line(self) -> None:
        """Begin a new `marked_line`."""
        self._line_begin = len(self._pieces)

    def add_text(self, text: str) -> list[tuple[int, str]]:
        """Append ``text``, in which anything that looks like a placeholder becomes a single one.

        Returns:
            The number and the text of each such literal.
        """
        at, before = len(self._pieces), ""
        while at > self._line_begin and len(before) < _LONGEST:
            piece = self._pieces[at - 1]
            if not _is_hidden(piece):
                if PLACEHOLDER.fullmatch(piece):
                    break
                before = piece + before
            at -= 1
        if PLACEHOLDER.search(before + text):  # it ends what began before
            text = before + text
            self._pieces[at:] = filter(_is_hidden, self._pieces[at:])
        literals = []
        end = 0
        for match in PLACEHOLDER.finditer(text):
            self._pieces += filter(None, [text[end : match.start()]])
            literals.append((self.add_single(), match.group()))
            end = match.end()
        self._pieces += filter(None, [text[end:]])
        return literals

    def add_single(self) -> int:
        """Append a placeholder without text and return its number."""
        self._n += 1
        self._pieces.append(f"<{self._n}/>")
        return self._n

    def add_hidden(self) -> int:
        """Note the place of something invisible, and return its number for `marked`."""
        self._n_hidden += 1
        number = _MOST - self._n_hidden
        self._pieces.append(f"<{number}/>")
        return number

    def open_span(self, look: Hashable = None) -> int:
        """Begin a span and return its number, for `close_span`.

        Args:
            look: equal for spans that may be one; None for a span that must stay as it is.
        """
        at = len(self._pieces)
        while at and (self._pieces[at - 1].isspace() or _is_hidden(self._pieces[at - 1])):
            at -= 1
        closed = PLACEHOLDER.fullmatch(self._pieces[at - 1]) if at else None
        if look is not None and closed and closed[1] and self._looks[int(closed[2])] == look:
            del self._pieces[at - 1]
            return int(closed[2])
        self._n += 1
        self._looks[self._n] = look
        self._begins[self._n] = len(self._pieces)
        self._pieces.append(f"<{self._n}>")
        return self._n

    def close_span(self, number: int) -> bool:
        """End span ``number``; False if it was dropped, since it has a look but no text."""
        begin = self._begins[number]
        inside = (self._pieces[i] for i in range(begin + 1, len(self._pieces)))
        if self._looks[number] is not None and all(
            piece.isspace() or _is_hidden(piece) for piece in inside
        ):
            del self._pieces[begin]
            self._n -= 1
            return False
        self._pieces.append(f"</{number}>")
        return True

    @property
    def text(self) -> str:
        """The paragraph built so far."""
        return _HIDDEN.sub("", self.marked)

    @property
    def marked(self) -> str:
        """`text` with placeholders for what is hidden, too."""
        return "".join(self._pieces)

    @property
    def marked_line(self) -> str:
        """`marked` since the last `begin_line`."""
        return "".join(self._pieces[self._line_begin :])


def shown(marked: str) -> str:
    """``marked`` without what is hidden, and without the look of a drop cap, which cuts a word."""
    text = _HIDDEN.sub("", marked)
    initial = _INITIAL.match(text)
    if initial is None or not initial["text"].isupper():
        return text
    return initial["before"] + initial["text"] + text[initial.end() :]


def whole(translation: str, marked: str) -> str:
    """``translation`` of what is `shown` of ``marked`` with all placeholders of ``marked``."""
    source = shown(marked)
    if source == marked:
        return translation
    return marked if translation == source else repaired(marked, translation)


def _is_hidden(piece: str) -> bool:
    return _HIDDEN.fullmatch(piece) is not None
