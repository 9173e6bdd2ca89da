"""Names that a translation keeps, in segments that consist of names alone: lists, tables, captions.

Some names have translations (Londres, London) and titles are words (Monsieur), so a name that is
not kept says little by itself. Two things say more: a word that is nearly the name (Yves, Yes), and
a long list in which nearly all other names are kept.
"""

import re
import unicodedata
from collections.abc import Collection
from difflib import SequenceMatcher
from typing import Final

MANY: Final = 8
"""Names that make a long list."""
MOST_KEPT: Final = 0.8
"""Share of the names of a long list that shows that names are kept."""
SOME_KEPT: Final = 0.5
"""The same for few names."""
ALIKE: Final = 0.7
"""Likeness of a name and the word that it became by mistake."""

_WORD: Final = re.compile(r"[^\W\d_]{2,}")
_PARTICLES: Final = frozenset(
    "af al and av da de del den der des di do dos du el en et in la le les lès of og och sur the "  # noqa: SIM905
    "und van von zu".split()
)
_SENTENCE: Final = re.compile(r"[.!?…]\W*$")
_DELIMITER: Final = re.compile(r"[,;/|•·\n]")


def changed(source: str, translation: str) -> list[str]:
    """The names in ``source`` that ``translation`` has changed, if it is a list of names."""
    words = _WORD.findall(source)
    names = [word for word in words if word[0].isupper()]
    if len(names) < 2 or source.isupper():
        return []
    if any(word[0].islower() and word not in _PARTICLES for word in words):
        return []
    before = set(map(_key, words))
    there = set(map(_key, _WORD.findall(translation)))
    lost = [name for name in names if _key(name) not in there]
    new = [word for word in there - before if not any(_is_cognate(word, key) for key in before)]
    lost = [name for name in lost if not any(_is_cognate(_key(name), word) for word in there)]
    kept = sum(_key(name) in there for name in names) / len(names)
    if len(names) >= MANY and kept >= MOST_KEPT and _DELIMITER.search(source):
        return lost
    if _SENTENCE.search(source):  # whose first word has a capital anyway
        lost = [name for name in lost if name != words[0]]
    return [name for name in lost if kept >= SOME_KEPT and _is_mistaken(_key(name), new)]


def _key(word: str) -> str:
    """``word`` without case and accents."""
    letters = unicodedata.normalize("NFKD", word.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def _is_cognate(name: str, word: str) -> bool:
    """Whether ``word`` may be the name in another language."""
    return name[:3] == word[:3] or (min(len(name), len(word)) >= 6 and name[:2] == word[:2])


def _is_mistaken(name: str, words: Collection[str]) -> bool:
    return any(SequenceMatcher(None, name, word).ratio() >= ALIKE for word in words)
