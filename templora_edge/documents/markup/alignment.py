"""Where a place in a text lies in its translation, without a model: by words that both share."""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

_TOKEN: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|\w+|[^\w\s]")
_MOST_PAIRS: Final = 250_000
"""Pairs of tokens that are compared, about half a second; longer texts take equal tokens only."""
_PUNCTUATION: Final = str.maketrans("。！？、，；：（）“”„«»‘’؟،؛", '.!?,,;:()"""""\'\'?,;')


@dataclass(frozen=True, slots=True)
class _Token:
    begin: int
    end: int
    key: str
    """Without case and accents, so that cognates begin alike."""


class Alignment:
    """Places of ``source`` in ``target``.

    Equal tokens (names, numbers, punctuation) and cognates, in the same order in both, are anchors;
    between two anchors, places are interpolated and moved to the nearest edge of a token.

    Args:
        pins: places of the source and those of the target that are known to go together.
    """

    def __init__(self, source: str, target: str, pins: Sequence[tuple[int, int]] = ()) -> None:
        self._source, self._target = source, target
        tokens = _tokens(target)
        words = [token for token in tokens if token.key.isalnum()] or tokens
        self._begins = [token.begin for token in tokens] or [0]
        self._ends = [token.end for token in tokens] or [0]
        self._word_begins = [token.begin for token in words] or [0]
        self._word_ends = [token.end for token in words] or [0]
        places = [(0, 0), (len(source), len(target))]
        for pin in pins:
            _add(pin, places)
        for left, right in _anchors(_tokens(source), tokens):
            _add((left.begin, right.begin), places)
            _add((left.end, right.end), places)
        self._places = places

    def same(self, begin: int, end: int) -> tuple[int, int] | None:
        """Where the target has the very words from ``begin`` to ``end`` of the source, if it does.

        Of several places, the nearest to where they would be expected.
        """
        words = self._source[begin:end].strip()
        if not any(character.isalnum() for character in words):
            return None
        pattern = re.compile(rf"(?<!\w){re.escape(words)}(?!\w)", re.IGNORECASE)
        expected = self._interpolated(begin)
        return min(
            (match.span() for match in pattern.finditer(self._target)),
            key=lambda span: abs(span[0] - expected),
            default=None,
        )

    def begin(self, offset: int) -> int:
        """Where the token begins that stands for the one at ``offset`` of the source.

        It is a word if that is one.
        """
        is_word = self._source[offset : offset + 1].isalnum()
        edges = self._word_begins if is_word else self._begins
        return _nearest(edges, self._interpolated(offset))

    def end(self, offset: int) -> int:
        """Where the token ends that stands for the one before ``offset`` of the source.

        It is a word if that is one.
        """
        is_word = self._source[max(offset - 1, 0) : offset].isalnum()
        return _nearest(self._word_ends if is_word else self._ends, self._interpolated(offset))

    def token(self, begin: int, end: int) -> tuple[int, int]:
        """The token nearest to where ``begin`` to ``end`` of the source would be expected.

        It is a word if there are letters or digits between them.
        """
        middle = (self._interpolated(begin) + self._interpolated(end)) / 2
        is_word = any(map(str.isalnum, self._source[begin:end]))
        begins, ends = (
            (self._word_begins, self._word_ends) if is_word else (self._begins, self._ends)
        )
        after = bisect_right(begins, middle)
        near = range(max(after - 1, 0), min(after + 1, len(begins)))
        return min(
            ((begins[k], ends[k]) for k in near),
            key=lambda token: abs(sum(token) / 2 - middle),
        )

    def initial(self, begin: int, end: int) -> tuple[int, int]:
        """As many letters of the word that stands for the one at ``begin`` as there are to ``end``.

        At least one of it is left.
        """
        left = self.begin(begin)
        at = bisect_left(self._word_begins, left)
        is_word = self._word_begins[at : at + 1] == [left]
        last = self._word_ends[at] if is_word else left
        n_letters = sum(map(str.isalpha, self._source[begin:end]))
        return left, max(min(left + n_letters, last - 1), min(left + 1, last))

    def token_end(self, offset: int) -> int:
        """The end of the first token of the target that ends after ``offset``, or the last."""
        after = bisect_right(self._ends, offset)
        return self._ends[min(after, len(self._ends) - 1)]

    def token_begin(self, offset: int) -> int:
        """The begin of the last token of the target that begins before ``offset``, or the first."""
        return self._begins[max(bisect_left(self._begins, offset) - 1, 0)]

    def _interpolated(self, offset: int) -> float:
        after = min(bisect_right(self._places, (offset, 1 << 60)), len(self._places) - 1)
        (x0, y0), (x1, y1) = self._places[max(after - 1, 0)], self._places[after]
        return y0 if x1 == x0 else y0 + (y1 - y0) * (offset - x0) / (x1 - x0)


def _add(place: tuple[int, int], places: list[tuple[int, int]]) -> None:
    """Add ``place`` to ``places`` unless it would be out of order in one of the texts."""
    at = bisect_right(places, place)
    if all(x <= place[0] and y <= place[1] for x, y in places[at - 1 : at]) and all(
        x >= place[0] and y >= place[1] for x, y in places[at : at + 1]
    ):
        places.insert(at, place)


def _tokens(text: str) -> list[_Token]:
    return [_Token(m.start(), m.end(), _key(m.group())) for m in _TOKEN.finditer(text)]


def _key(word: str) -> str:
    letters = unicodedata.normalize("NFKD", word.translate(_PUNCTUATION))
    return "".join(each for each in letters if not unicodedata.combining(each)).casefold()


def _nearest(edges: list[int], place: float) -> int:
    after = bisect_left(edges, place)
    return min(edges[max(after - 1, 0) : after + 1], key=lambda edge: (abs(edge - place), edge))


def _likeness(left: str, right: str) -> float:
    """How sure it is that two tokens stand for one another: 0 to 1."""
    if left == right:
        return min(len(left), 6) / 6 if left.isalnum() else 0.3
    if left[:3] != right[:3] or not left.isalpha():
        return 0
    common = next(
        (i for i, (one, other) in enumerate(zip(left, right, strict=False)) if one != other),
        min(len(left), len(right)),
    )
    share = common / max(len(left), len(right))
    return share if share >= 0.5 else 0


def _anchors(source: list[_Token], target: list[_Token]) -> list[tuple[_Token, _Token]]:
    """The pairs, in the same order in both texts, whose likeness is largest in sum."""
    n, m = len(source), len(target)
    if n * m > _MOST_PAIRS:
        matcher = SequenceMatcher(None, [t.key for t in source], [t.key for t in target])
        return [
            (source[block.a + i], target[block.b + i])
            for block in matcher.get_matching_blocks()
            for i in range(block.size)
        ]
    best = [[0.0] * (m + 1) for _ in range(n + 1)]
    for i in range(n):
        for j in range(m):
            alike = _likeness(source[i].key, target[j].key)
            if alike:  # what is far from the diagonal is rather chance
                alike = max(alike - 0.5 * abs(i / n - j / m), 0)
            best[i + 1][j + 1] = max(best[i][j] + alike, best[i][j + 1], best[i + 1][j])
    anchors = []
    i, j = n, m
    while i and j:
        if best[i][j] == best[i - 1][j]:
            i -= 1
        elif best[i][j] == best[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            anchors.append((source[i], target[j]))
    return anchors[::-1]
