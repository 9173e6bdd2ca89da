"""Recurring terms: rows of words that occur together more often than chance would have it."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from templora_edge.translation.names import Run, Words
from templora_edge.translation.term_words import TermSentence, TermWord

LONGEST_PHRASE: Final = 4
"""Most words of a term."""
LEAST_LIKELIHOOD: Final = 10.83
"""Least log-likelihood ratio of a term's words: chance in one of a thousand pairs of words."""
LEAST_PHRASES: Final = 3
"""Fewest occurrences of a term that is no name."""
STOP_SHARE: Final = 0.001
"""Least share of all words of one that begins or ends no term, such as an article."""


class Phrases:
    """The recurring terms of a document, which hold no names and may overlap.

    A term begins and ends with words that are rare in the document, and each two parts of it occur
    together more often than they would by chance, by Dunning's log-likelihood ratio (1993).

    Args:
        sentences: all sentences of the document.
        names: the names of each sentence.
    """

    def __init__(self, sentences: Sequence[TermSentence], names: Sequence[Sequence[Run]]) -> None:
        self._rows = [
            list(_pieces(one.words, runs)) for one, runs in zip(sentences, names, strict=True)
        ]
        pieces = [words for row in self._rows for _, words in row]
        singles = Counter(word for words in pieces for word in words)
        self._counts = _counts(pieces, singles)
        self._n_words = sum(singles.values())
        self._stops = _stops(singles)
        self._terms = frozenset(filter(self._is_term, self._counts))

    def runs(self, sentence: int) -> Iterator[Run]:
        """Where terms are in the sentence of that number."""
        for first, words in self._rows[sentence]:
            for begin, end in _grams(len(words)):
                if words[begin:end] in self._terms:
                    yield first + begin, first + end

    def cohesion(self, words: Words) -> float:
        """How firmly the weakest two parts of a term hold together: 0 by chance, 1 always.

        It is their normalised pointwise mutual information (Bouma 2009).
        """
        count = self._counts[words]
        return min(
            math.log(count * self._n_words / (self._counts[left] * self._counts[right]))
            / math.log(self._n_words / count)
            for left, right in _cuts(words)
        )

    def _is_term(self, words: Words) -> bool:
        count = self._counts[words]
        if len(words) < 2 or count < LEAST_PHRASES or {words[0], words[-1]} & self._stops:
            return False
        return min(len(words[0]), len(words[-1])) > 2 and all(
            log_likelihood(count, self._counts[left], self._counts[right], self._n_words)
            >= LEAST_LIKELIHOOD
            for left, right in _cuts(words)
        )


def phrase_key(word: TermWord) -> str:
    """What the forms of a word in terms have in common."""
    return word.small.removesuffix("s") if len(word.text) > 3 else word.small


def log_likelihood(both: int, first: int, second: int, total: int) -> float:
    """Dunning's log-likelihood ratio of two events; 0 if they meet no more often than by chance.

    Args:
        both: how often they meet.
        first: how often the first one occurs.
        second: how often the second one occurs.
        total: number of places where either could.
    """
    if both * total <= first * second:
        return 0.0
    rest = max(0, total - first - second + both)
    table = (
        (both, first * second),
        (first - both, first * (total - second)),
        (second - both, (total - first) * second),
        (rest, (total - first) * (total - second)),
    )
    return 2 * sum(n * math.log(n * total / expected) for n, expected in table if n > 0)


def _pieces(words: Sequence[TermWord], names: Sequence[Run]) -> Iterator[tuple[int, Words]]:
    """Rows of words with only spaces between them and no name: (index of the first, keys)."""
    in_names = {place for begin, end in names for place in range(begin, end)}
    begin = 0
    for place in range(len(words) + 1):
        ends = place == len(words) or place in in_names
        if ends or not words[place].joins:
            if place > begin:
                yield begin, tuple(map(phrase_key, words[begin:place]))
            begin = place + ends


def _grams(n_words: int) -> Iterator[Run]:
    for begin in range(n_words):
        for end in range(begin + 1, min(begin + LONGEST_PHRASE, n_words) + 1):
            yield begin, end


def _counts(pieces: Sequence[Words], singles: Counter[str]) -> Counter[Words]:
    """How often each row of words occurs, of those whose words all recur."""
    return Counter(
        words[begin:end]
        for words in pieces
        for begin, end in _grams(len(words))
        if all(singles[word] >= LEAST_PHRASES for word in words[begin:end])
    )


def _stops(singles: Counter[str]) -> frozenset[str]:
    """The most frequent words; few in a short document, where any word may be frequent."""
    common = singles.most_common(math.isqrt(2 * len(singles)))
    least = STOP_SHARE * sum(singles.values())
    return frozenset(word for word, count in common if count >= least)


def _cuts(words: Words) -> Iterator[tuple[Words, Words]]:
    return ((words[:cut], words[cut:]) for cut in range(1, len(words)))
