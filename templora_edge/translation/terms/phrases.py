"""Recurring terms: rows of words that occur together more often than chance would have it."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from templora_edge.translation.terms.names import Run, Words
from templora_edge.translation.terms.words import TermSentence, TermWord

LONGEST_PHRASE: Final = 4
"""Most words of a term."""
LONGEST_WITHOUT_CAPITALS: Final = 6
"""The same in scripts without capitals, where words may be Chinese characters."""
LEAST_LIKELIHOOD: Final = 10.83
"""Least log-likelihood ratio of a term's words: chance in one of a thousand pairs of words."""
LEAST_PHRASES: Final = 3
"""Fewest occurrences of a term that is no name."""
LEAST_COHESION: Final = 0.3
"""Least cohesion of a term in scripts without capitals; see `Phrases`."""
LEAST_BURST: Final = 0.2
"""Least burst of a single word that is a term there."""
MOST_PARTS: Final = 50
"""Most parts of a document in which occurrences are counted to find bursts."""
PART_WORDS: Final = 50
"""Fewest words of a part."""
STOP_SHARE: Final = 0.001
"""Least share of all words of one that begins or ends no term, such as an article."""
FREQUENT: Final = 6
"""Fewest occurrences of such a word."""
_GRAMMAR: Final = frozenset(
    "的了是在我你您他她它们們这這那也都就不和与與有着著说說道之其而以为為个個一又便把被"
)
"""Chinese characters of grammar, which begin and end no term."""


class Phrases:
    """The recurring terms of a document, which hold no names and may overlap.

    A term begins and ends with words that are rare in the document, and each two parts of it occur
    together more often than they would by chance, by Dunning's log-likelihood ratio (1993).

    In scripts without capitals, where names are not told from other words, a term may be a single
    word, and counts for more if it comes in bursts, as names do, and words of grammar do not.

    Args:
        sentences: all sentences of the document.
        names: the names of each sentence.
        capitals: whether the script has capitals.
    """

    def __init__(
        self,
        sentences: Sequence[TermSentence],
        names: Sequence[Sequence[Run]],
        *,
        capitals: bool = True,
    ) -> None:
        self._capitals = capitals
        self._rows = [
            list(_pieces(one.words, runs)) for one, runs in zip(sentences, names, strict=True)
        ]
        pieces = [words for row in self._rows for _, words in row]
        singles = Counter(word for words in pieces for word in words)
        self._longest = LONGEST_PHRASE if capitals else LONGEST_WITHOUT_CAPITALS
        self._counts = _counts(pieces, self._longest)
        self._n_words = singles.total()
        self._bursts = {} if capitals else _bursts(pieces, self._counts, self._longest)
        self._stops = _GRAMMAR | {
            word
            for word in _frequent(singles)
            if capitals or (self._bursts[(word,)] < LEAST_BURST and not _is_eastern(word))
        }
        self._terms = frozenset(filter(self._is_term, self._counts))

    def runs(self, sentence: int) -> Iterator[Run]:
        """Where terms are in the sentence of that number."""
        for first, words in self._rows[sentence]:
            for begin, end in _grams(len(words), 1, self._longest):
                if words[begin:end] in self._terms:
                    yield first + begin, first + end

    def weight(self, words: Words) -> float:
        """How much an occurrence of a term counts, from its length and how firm a whole it is."""
        if self._capitals:
            return self._cohesion(words) * math.log2(len(words))
        return (LEAST_BURST + self._bursts[words]) * math.log2(1 + len(words))

    def _cohesion(self, words: Words) -> float:
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
        if {words[0], words[-1]} & self._stops:
            return False
        if not self._capitals:
            if len(words) == 1:
                bursts = self._bursts[words] >= LEAST_BURST
                return len(words[0]) > 1 and (bursts or _is_eastern(words[0]))
            if self._cohesion(words) < LEAST_COHESION:
                return False
        elif len(words) == 1 or min(len(words[0]), len(words[-1])) < 3:
            return False
        return all(
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


def _grams(n_words: int, least: int, most: int) -> Iterator[Run]:
    for length in range(least, min(most, n_words) + 1):
        for begin in range(n_words - length + 1):
            yield begin, begin + length


def _counts(pieces: Sequence[Words], longest: int) -> Counter[Words]:
    """How often each row of words occurs, of those that recur.

    Longer ones are counted where their parts recur, as a book has millions of others.
    """
    counts = Counter[Words]()
    for length in range(1, longest + 1):
        found = Counter(
            words[begin:end]
            for words in pieces
            for begin, end in _grams(len(words), length, length)
            if length == 1
            or (words[begin : end - 1] in counts and words[begin + 1 : end] in counts)
        )
        counts.update({words: n for words, n in found.items() if n >= LEAST_PHRASES})
    return counts


def _is_eastern(word: str) -> bool:
    """Whether ``word`` is a Chinese character or a word in Katakana, which no grammar has."""
    return "\u3000" < word < "\ufb00"


def _frequent(singles: Counter[str]) -> list[str]:
    """The most frequent words; few in a short document, where any word may be frequent."""
    common = singles.most_common(math.isqrt(2 * len(singles)))
    least = max(FREQUENT, STOP_SHARE * singles.total())
    return [word for word, count in common if count >= least]


def _bursts(pieces: Sequence[Words], counts: Counter[Words], longest: int) -> dict[Words, float]:
    """How unevenly each recurring row of words is spread over the document: 0 as by chance, to 1.

    It is 1 less the ratio of mean and variance of the numbers in parts of equal length.
    """
    n_words = sum(map(len, pieces))
    n_parts = max(2, min(MOST_PARTS, n_words // PART_WORDS))
    places: defaultdict[Words, Counter[int]] = defaultdict(Counter)
    done = 0
    for words in pieces:
        for begin, end in _grams(len(words), 1, longest):
            if words[begin:end] in counts:
                places[words[begin:end]][(done + begin) * n_parts // n_words] += 1
        done += len(words)
    bursts = {}
    for words, found in places.items():
        mean = found.total() / n_parts
        variance = sum(n * n for n in found.values()) / n_parts - mean * mean
        bursts[words] = max(0.0, 1 - mean / variance) if variance else 0.0
    return bursts


def _cuts(words: Words) -> Iterator[tuple[Words, Words]]:
    return ((words[:cut], words[cut:]) for cut in range(1, len(words)))
