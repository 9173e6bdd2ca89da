"""Draft renderings of terms, which a model gives where it agrees with itself."""

import re
from typing import Final

from langcodes import Language

from templora_edge.options import GREEDY
from templora_edge.translation.answer_text import AnswerText
from templora_edge.translation.answers import Languages
from templora_edge.translation.pair_loop import PairLoop
from templora_edge.translation.prompt import Pair, labels
from templora_edge.translation.terms.terms import Term, TermKind
from templora_edge.translation.terms.words import TITLES

_EDGES: Final = " \t.,;:!?…\"'“”‘’«»()[]-–—。，！？、「」"
_INSIDE: Final = re.compile(r"[.!?…:;\n\"“”«»()]\s|[。！？\n]")
"""What an answer has that is a sentence or more than one."""


class Renderings:
    """Drafts of terms in another language.

    A rendering is what the model answers to the term alone, if it also writes that where it
    translates a sentence with the term; for a term that is no name, or answers once more with that
    sentence before its eyes. A name for which this gives nothing stays as it is, where both
    languages share a script.

    Args:
        languages: languages of the document and of the renderings.
        loop: translates with a model; without one, only names that stay have a rendering.
    """

    def __init__(self, languages: Languages, loop: PairLoop | None = None) -> None:
        self._loop = loop
        self._labels = labels(languages.source, languages.target)
        self._one_script = _script(languages.source) == _script(languages.target)

    def of(self, term: Term) -> str:
        """The rendering of ``term``; empty if there is none that can be used.

        Raises:
            EngineError: llama.cpp fails.
        """
        found = "" if self._loop is None else self._asked(self._loop, term)
        return found or (term.text if self._stays(term) else "")

    def _asked(self, loop: PairLoop, term: Term) -> str:
        alone = self._answer(loop, term.text)
        if not _is_rendering(alone, term) or self._is_same(alone, term):
            return ""
        shown = self._answer(loop, term.example)
        match = re.search(rf"(?<!\w){re.escape(alone)}(?!\w)", shown, re.IGNORECASE)
        if match is not None:
            return alone if term.kind is TermKind.NAME else match.group()
        if term.kind is TermKind.NAME or not shown:
            return ""
        again = self._answer(loop, term.text, Pair(term.example, shown))
        return _in_case_of(term.text, alone) if again.casefold() == alone.casefold() else ""

    def _answer(self, loop: PairLoop, source: str, *before: Pair) -> str:
        """The translation of ``source``, without punctuation around it; empty if it has no end."""
        reader = AnswerText(source, self._labels)
        loop.begin_block(before)
        loop.ask(source, ())
        answer = loop.answer(GREEDY, loop.longest_answer(source), reader)
        return reader.translation(answer.text).strip(_EDGES) if answer.finished else ""

    def _is_same(self, answer: str, term: Term) -> bool:
        """Whether ``answer`` says that a name stays."""
        return answer.casefold() == term.text.casefold() and self._stays(term)

    def _stays(self, term: Term) -> bool:
        """Whether ``term`` may stay as it is: a name without titles and particles."""
        words = [word.rstrip(".") for word in term.text.split()]
        return (
            self._one_script
            and term.kind is TermKind.NAME
            and all(word[0].isupper() and word.lower() not in TITLES for word in words)
        )


def _script(language: str) -> str | None:
    return Language.get(language).maximize().script


def _is_rendering(answer: str, term: Term) -> bool:
    """Whether ``answer`` is no longer than the rendering of a term, and no sentence."""
    long = len(answer.split()) > 2 * len(term.text.split()) + 1
    return answer != "" and not long and _INSIDE.search(answer) is None


def _in_case_of(term: str, rendering: str) -> str:
    """``rendering`` without the capital that began it as a sentence, if ``term`` has none."""
    if term[0].islower() and rendering[1:].islower():
        return rendering[0].lower() + rendering[1:]
    return rendering
