"""Names in scripts that have capitals: capitalised words within sentences, and rows of them."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from templora_edge.translation.terms.words import TITLES, TermSentence, TermWord

NAME_SHARE: Final = 0.5
"""Least share of a name's occurrences within sentences that are capitalised."""
TITLE_SHARE: Final = 0.5
"""Least share of the occurrences of a word such as "captain" before a name, if it is a title."""
TITLE_COUNT: Final = 4
"""Fewest occurrences of such a title before names."""
BARE_SHARE: Final = 0.8
"""Least share of a German name's occurrences that follow no article and no adjective."""
_PARTICLES: Final = frozenset(
    "de du des d of von van vom zu zum zur di da do dos das del della dei degli ter ten "  # noqa: SIM905
    "bin ibn ben".split()
)
"""Words in small letters that join two names to one."""
_AFTER_PARTICLE: Final = frozenset("la le l les los las der den dem het the".split())  # noqa: SIM905
_NO_NAMES: Final = frozenset("i oh ah eh o".split())  # noqa: SIM905
_NOUNS_IN_CAPITALS: Final = frozenset(["de", "gsw", "lb", "nds"])
"""Languages that capitalise all nouns."""
_BEFORE_NOUNS: Final = re.compile(
    r"d(?:er|ie|as|en|em|es)|[kmds]?ein(?:e[nmrs]?)?|(?:unser|eu(?:e)?r|ihr)(?:e[nmrs]?)?|"
    r"im|am|zum|zur|vom|beim|ins|ans|fürs|zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|"
    r"[a-zäöüß]{3,}(?<!t)e|[a-zäöüß]{3,}e[nmrs]"
)
"""German articles, and adjectives and the like with their endings; verbs end in te, too."""
_NOUN_ENDINGS: Final = ("e", "en", "er", "n", "es", "ern")
_ROMAN_NUMBER: Final = re.compile(r"[IVXLC]+")

_ENDINGS: Final = {
    **dict.fromkeys(
        ("be", "bg", "mk", "ru", "sr", "uk"),
        "а я у ю ы и і ї е є о й ь ой ей ою ею ом ем ём ым им ых их ого его ому ему ами ями ам ям "
        "ах ях",
    ),
    "pl": "a ą e ę i o u y em ie im iem iego iemu ego emu owi om ami ach ą",
    **dict.fromkeys(
        ("bs", "cs", "hr", "sk", "sl"), "a e é ě i í o u ů y ou em ovi ům ách om ami ama"
    ),
}
"""Endings of cases by language; in others, plurals and genitives end in s."""
_LEAST_STEM: Final = 3
"""Fewest letters of a name before its ending."""

Run = tuple[int, int]
"""Where words of a sentence begin and end, counted in words."""
Words = tuple[str, ...]


class Names:
    """The names of a document: rows of capitalised words, of titles and of particles.

    Args:
        sentences: all sentences of the document.
        language: BCP 47 tag of the document.
    """

    def __init__(self, sentences: Sequence[TermSentence], language: str) -> None:
        main = language.lower().partition("-")[0]
        self._names = _capitalised(sentences, nouns=main in _NOUNS_IN_CAPITALS)
        self._titles = TITLES | _titles(sentences, self._names)
        self._joined = _joined(sentences, self._names)
        endings = _ENDINGS.get(main, "s").split()
        self._endings = sorted(endings, key=len, reverse=True)

    def runs(self, words: Sequence[TermWord]) -> list[Run]:
        """Where the names of a sentence are, each as long as can be."""
        found = []
        place = 0
        while place < len(words):
            end = self._end(words, place)
            if end > place:
                found.append((place - self._is_joined(words, place), end))
            place = max(end, place + 1)
        return found

    def parts(self, words: Sequence[TermWord], run: Run) -> Iterator[Run]:
        """The names within a name, itself included."""
        for begin in range(*run):
            word = words[begin]
            if begin > run[0] and (self._is_particle(words, begin, begin) or _is_number(word)):
                continue
            for end in range(begin + 1, run[1] + 1):
                last = words[end - 1]
                if last.is_capitalised and last.small not in TITLES:
                    yield begin, end

    def key(self, words: Sequence[TermWord]) -> Words:
        """What the forms of a name have in common: its words, the last one without its ending."""
        *first, last = (
            word.small if word.elided or word.small in TITLES else word.text for word in words
        )
        for ending in self._endings:
            if last.endswith(ending) and len(last) >= _LEAST_STEM + len(ending):
                return (*first, last.removesuffix(ending))
        return (*first, last)

    def _end(self, words: Sequence[TermWord], begin: int) -> int:
        """Where the name that begins at ``begin`` ends; there if there is none."""
        end = place = begin
        while place < len(words) and (place == begin or words[place].joins):
            word = words[place]
            if word.text in self._names or (end > begin and _is_number(word)):
                end = place + 1
            elif word.text in self._titles or word.small in TITLES:
                if end > begin:
                    break  # another name begins
            elif end == begin or not self._is_particle(words, place, end):
                break
            place += 1
        return end

    def _is_joined(self, words: Sequence[TermWord], place: int) -> bool:
        return place > 0 and words[place].text in self._joined and words[place - 1].elided

    @staticmethod
    def _is_particle(words: Sequence[TermWord], place: int, end: int) -> bool:
        """Whether the word at ``place`` may stand inside a name whose last name ends at ``end``."""
        if place == end:
            return words[place].text in _PARTICLES
        return place == end + 1 and words[place].text in _AFTER_PARTICLE


def _is_number(word: TermWord) -> bool:
    return _ROMAN_NUMBER.fullmatch(word.text) is not None


def _capitalised(sentences: Sequence[TermSentence], *, nouns: bool) -> frozenset[str]:
    """Words that are capitalised within sentences, and no oftener in small letters.

    With ``nouns``, common nouns are capitalised too.
    """
    within, small, bare = Counter[str](), Counter[str](), Counter[str]()
    for sentence in sentences:
        for before, word in zip((None, *sentence.words), sentence.words, strict=False):
            if not word.is_capitalised:
                small[word.small] += 1
            elif not (word.begins or _is_number(word)):
                within[word.text] += 1
                bare[word.text] += before is None or not _BEFORE_NOUNS.fullmatch(before.small)
    return frozenset(
        word
        for word, count in within.items()
        if count >= NAME_SHARE * (count + small[word.lower()])
        and word.lower() not in TITLES | _NO_NAMES
        and not (nouns and (bare[word] < BARE_SHARE * count or _is_inflected(word, within)))
    )


def _is_inflected(word: str, words: Counter[str]) -> bool:
    """Whether ``word`` is among ``words`` with another ending of German nouns."""
    stems = [word.removesuffix(ending) for ending in _NOUN_ENDINGS if word.endswith(ending)]
    return any(f"{word}{ending}" in words for ending in _NOUN_ENDINGS) or any(
        stem in words for stem in stems
    )


def _titles(sentences: Sequence[TermSentence], names: frozenset[str]) -> frozenset[str]:
    """Words in small letters that names follow more often than not, such as "captain"."""
    total, before = Counter[str](), Counter[str]()
    for sentence in sentences:
        for word in sentence.words:
            total[word.text] += 1
        for article, word, following in zip(
            sentence.words, sentence.words[1:], sentence.words[2:], strict=False
        ):
            stands_between = word.joins and following.joins and following.text in names
            if stands_between and word.text.islower() and len(word.text) > 2:
                before[word.text] += not article.elided or article.small == "l"
    return frozenset(
        word
        for word, count in before.items()
        if count >= max(TITLE_COUNT, TITLE_SHARE * total[word])
        and word not in _PARTICLES | _AFTER_PARTICLE
    )


def _joined(sentences: Sequence[TermSentence], names: frozenset[str]) -> frozenset[str]:
    """Names such as Artagnan, which have d' before them wherever they stand, also as D'."""
    total, after, capital = Counter[str](), Counter[str](), set[str]()
    for sentence in sentences:
        for before, word in pairwise(sentence.words):
            if word.text in names:
                total[word.text] += 1
                if before.elided and before.small == "d":
                    after[word.text] += 1
                    capital |= {word.text} if before.text == "D" else set()
    return frozenset(name for name in capital if after[name] >= 0.9 * total[name])
