"""The words of a text: variety, and names."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, TypeVar

from templora_edge.repetition import repeated

TITLES: Final = frozenset(["Mr", "Mrs", "Ms", "Dr", "St"])
"""Abbreviations whose full stop does not end a sentence; no names themselves."""
LEAST_OCCURRENCES: Final = 5
"""Fewest occurrences that make a capitalised word a name of its text."""

_T = TypeVar("_T")
_WORD_FORM: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_WITHIN_SENTENCE: Final = re.compile(r"[ \t,;-]*\n?[ \t]*")
"""Characters that may stand between two words of a sentence: line breaks, but no empty lines."""


def quarters(items: Sequence[_T]) -> list[Sequence[_T]]:
    """``items`` in four consecutive parts, of equal lengths but for rounding."""
    bounds = [len(items) * part // 4 for part in range(5)]
    return [items[begin:end] for begin, end in pairwise(bounds)]


def words_of(text: str) -> list[str]:
    """The words of ``text`` in lower case, without punctuation."""
    return _WORD_FORM.findall(text.lower())


def repeated_shares(text: str) -> list[float]:
    """By quarter, the share of words that lie in an 8-gram which occurred earlier in ``text``."""
    return [sum(part) / max(1, len(part)) for part in quarters(repeated(words_of(text), 8))]


def distinct_shares(text: str, n: int = 4) -> list[float]:
    """By quarter, the share of its n-grams of words that are distinct; 1 where there are none."""
    return [_distinct(part, n) for part in quarters(words_of(text))]


def _distinct(words: Sequence[str], n: int) -> float:
    grams = list(zip(*(words[shift:] for shift in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else 1.0


def capitalised(text: str) -> list[str]:
    """Capitalised words away from the beginnings of sentences, without a possessive's ending.

    Words in capitals only, I and its contractions, and `TITLES` are left out.
    """
    found, previous = list[str](), None
    for match in _WORD_FORM.finditer(text):
        if previous is not None and _continues(previous[0], text[previous.end() : match.start()]):
            word = re.sub(r"['’]s$", "", match[0])
            if word[0].isupper() and not word.isupper() and not re.match("I['’]", word):
                found.append(word)
        previous = match
    return [word for word in found if word not in TITLES]


def _continues(previous: str, gap: str) -> bool:
    """Whether the sentence of the word ``previous`` goes on after ``gap``."""
    if previous in TITLES:
        gap = gap.removeprefix(".")
    return _WITHIN_SENTENCE.fullmatch(gap) is not None


def names_of(text: str) -> frozenset[str]:
    """Words that are capitalised within sentences at least `LEAST_OCCURRENCES` times."""
    counts = Counter(capitalised(text))
    return frozenset(word for word, count in counts.items() if count >= LEAST_OCCURRENCES)
