"""The terms of a document: its names and recurring phrases, the most telling ones first."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from templora_edge.translation.terms.names import Names, Run, Words
from templora_edge.translation.terms.phrases import Phrases, phrase_key
from templora_edge.translation.terms.words import TermSentence, term_sentences

LEAST_OCCURRENCES: Final = 2
"""Fewest occurrences of a term, not counting those inside longer ones."""
LEAST_INDEPENDENT: Final = 0.1
"""Least share of a term's occurrences that are not inside longer ones."""
EXAMPLE_CHARACTERS: Final = (30, 160)
"""Length of a sentence that shows a term well."""


class TermKind(StrEnum):
    """What a term is."""

    NAME = "name"
    TERM = "term"


@dataclass(frozen=True, slots=True)
class Term:
    """A name or a recurring term of a document."""

    text: str
    kind: TermKind
    count: int
    """Occurrences, also inside longer terms."""
    score: float
    """How telling it is."""
    example: str
    """A sentence that has it."""


@dataclass(frozen=True, slots=True)
class _Place:
    """An occurrence: the sentence, and which of its words."""

    sentence: int
    begin: int
    end: int

    def holds(self, other: "_Place") -> bool:
        """Whether ``other`` lies within this one, in the same sentence."""
        return self.begin <= other.begin and other.end <= self.end


def terms_of(paragraphs: Sequence[str], language: str) -> list[Term]:
    """The names and recurring terms of a document, most telling first.

    A term scores its occurrences outside of longer terms times the logarithm of its length, as in
    the C-value of Frantzi, Ananiadou and Mima (2000); one that is no name, times its cohesion.

    Args:
        paragraphs: texts of the document, with placeholders.
        language: BCP 47 tag of the document.
    """
    sentences = term_sentences(paragraphs, language)
    names = Names(sentences, language)
    runs = [names.runs(sentence.words) for sentence in sentences]
    phrases = Phrases(sentences, runs, capitals=_has_capitals(sentences))
    found = _terms(TermKind.NAME, sentences, _name_places(sentences, names, runs), _name_weight)
    found += _terms(TermKind.TERM, sentences, _phrase_places(sentences, phrases), phrases.weight)
    return sorted(found, key=lambda term: (-term.score, term.text))


def _has_capitals(sentences: Sequence[TermSentence]) -> bool:
    """Whether most words are in a script that has capitals."""
    words = [word.text for sentence in sentences for word in sentence.words]
    return 2 * sum(word.lower() != word.upper() for word in words) >= len(words)


def _name_weight(words: Words) -> float:
    """The logarithm of a name's length without titles and particles, which tell nothing."""
    return math.log2(1 + sum(not word.islower() for word in words))


def _name_places(
    sentences: Sequence[TermSentence], names: Names, runs: Sequence[Sequence[Run]]
) -> Mapping[Words, list[_Place]]:
    places = defaultdict(list)
    for index, (sentence, found) in enumerate(zip(sentences, runs, strict=True)):
        for run in found:
            for begin, end in names.parts(sentence.words, run):
                places[names.key(sentence.words[begin:end])].append(_Place(index, begin, end))
    return places


def _phrase_places(
    sentences: Sequence[TermSentence], phrases: Phrases
) -> Mapping[Words, list[_Place]]:
    places = defaultdict(list)
    for index, sentence in enumerate(sentences):
        for begin, end in phrases.runs(index):
            key = tuple(map(phrase_key, sentence.words[begin:end]))
            places[key].append(_Place(index, begin, end))
    return places


def _terms(
    kind: TermKind,
    sentences: Sequence[TermSentence],
    candidates: Mapping[Words, list[_Place]],
    weight: Callable[[Words], float],
) -> list[Term]:
    """The candidates that occur often enough outside of longer ones; each such place counts."""
    taken: defaultdict[int, list[_Place]] = defaultdict(list)
    terms = []
    for key, places in sorted(candidates.items(), key=lambda one: (-len(one[0]), one[0])):
        own = [one for one in places if not any(long.holds(one) for long in taken[one.sentence])]
        if len(own) < max(LEAST_OCCURRENCES, LEAST_INDEPENDENT * len(places)):
            continue
        for one in places:
            taken[one.sentence].append(one)
        texts = Counter(_text(sentences[one.sentence], one) for one in places)
        text = max(texts, key=lambda text: (texts[text], text[0].islower()))
        shown = [sentences[one.sentence].text for one in places]
        score = len(own) * weight(key)
        terms.append(Term(text, kind, len(places), score, _example(text, shown)))
    return terms


def _text(sentence: TermSentence, place: _Place) -> str:
    """The term as the sentence has it."""
    words = sentence.words[place.begin : place.end]
    return " ".join(sentence.text[words[0].begin : words[-1].end].split())


def _example(text: str, sentences: Sequence[str]) -> str:
    """The shortest of the ``sentences`` with ``text`` itself that shows it well."""
    least, most = EXAMPLE_CHARACTERS
    shown = [" ".join(one.split()) for one in sentences]
    shown = [one for one in shown if text in one] or shown
    return min(shown, key=lambda one: (not least <= len(one) <= most, len(one)))
