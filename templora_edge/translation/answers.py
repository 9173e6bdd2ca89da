"""From a segment to its translation: ask, check, retry, and keep the best answer."""

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from templora_edge.documents.markup import PLACEHOLDER, plain, repaired
from templora_edge.options import MAX_SEED, SamplingOptions
from templora_edge.translation.answer_text import AnswerText
from templora_edge.translation.checks import Flag, check
from templora_edge.translation.glossary import Glossary
from templora_edge.translation.literals import Literals
from templora_edge.translation.pair_loop import PairLoop
from templora_edge.translation.prompt import labels
from templora_edge.translation.segmenter import has_words
from templora_edge.translation.store import SegmentRow

ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Languages:
    """Languages of a document and its translation, as BCP 47 tags."""

    source: str
    target: str


class Answers:
    """Asks for translations of a segment until one passes all checks.

    Args:
        loop: translates segments.
        languages: languages of the document.
        sampling: sampling of the first attempt.
        glossary: terms that prompts name.
        known: segments with the translations of earlier runs.
    """

    def __init__(
        self,
        loop: PairLoop,
        languages: Languages,
        sampling: SamplingOptions,
        glossary: Glossary,
        known: Iterable[SegmentRow] = (),
    ) -> None:
        self._loop, self._languages = loop, languages
        self._sampling, self._glossary = sampling, glossary
        self._labels = labels(languages.source, languages.target)
        self._sources: defaultdict[str, set[str]] = defaultdict(set)
        """Translation without markup -> sources that have it."""
        for row in known:
            self._remember(row)

    def ask(self, row: SegmentRow) -> bool:
        """Decode the prompt for a segment, unless it has no words; False: as in `PairLoop.ask`."""
        shown = Literals.of(row.source).shown
        if not has_words(shown):
            return True
        return self._loop.ask(shown, self._glossary.found_in(row.source))

    def best(self, row: SegmentRow) -> SegmentRow:
        """The first answer to `ask` that passes all checks, or else the one with fewest flags.

        Its placeholders and literals are those of the segment, whatever the model made of them.
        """
        literals = Literals.of(row.source)
        if not has_words(literals.shown):  # a model would make something up for it
            return replace(row, translation=row.source, tokens=self._loop.n_tokens(row.source))
        begun = time.perf_counter()
        answers: list[SegmentRow] = []
        while len(answers) < ATTEMPTS and not (answers and not answers[-1].flags):
            answers.append(self._attempt(row, literals, len(answers)))
        best = min(answers, key=lambda one: (Flag.EMPTY in one.flags, len(one.flags)))
        if Flag.EMPTY in best.flags:  # keep the source instead
            best = replace(best, translation=row.source)
        self._remember(best)
        return replace(
            best,
            attempts=len(answers),
            tokens=self._loop.n_tokens(str(best.translation)),
            seconds=time.perf_counter() - begun,
        )

    def _attempt(self, row: SegmentRow, literals: Literals, attempt: int) -> SegmentRow:
        """Another answer to `ask`, checked as the model wrote it, then repaired."""
        shown = literals.shown
        sampling = self._sampling_of(row.id, attempt)
        is_last = attempt + 1 == ATTEMPTS and PLACEHOLDER.search(row.source) is not None
        if is_last:  # without markup, which may be what confuses the model
            shown = Literals.of(plain(row.source)).shown
            self._loop.ask(shown, self._glossary.found_in(row.source))
        reader = AnswerText(shown, self._labels, self._languages.target)
        answer = self._loop.answer(sampling, self._loop.longest_answer(shown), reader)
        if is_last:  # later prompts go on from the one that a resumed job decodes
            self.ask(row)
        written = reader.translation(answer.text)
        if is_last:
            written = Literals.of(plain(row.source)).restored(written)
            written = written.removeprefix(literals.before).removesuffix(literals.after)
        written = literals.hidden(written)
        text = literals.restored(written)
        flags = check(
            row.source,
            text,
            source_language=self._languages.source,
            target_language=self._languages.target,
            finished=answer.finished,
            other_sources=self._sources.get(plain(text), ()),
        )
        text = literals.restored(repaired(literals.shown, written))
        return replace(row, translation=text, flags=tuple(flags))

    def _remember(self, row: SegmentRow) -> None:
        """Note whose translation that of ``row`` is, unless it is its source."""
        if row.translation is not None and row.translation != row.source:
            self._sources[plain(row.translation)].add(row.source)

    def _sampling_of(self, number: int, attempt: int) -> SamplingOptions:
        """The user's sampling at first; then a higher temperature and repeat penalty each time."""
        if attempt == 0:
            return self._sampling
        return replace(
            self._sampling,
            temperature=max(self._sampling.temperature, 0.3 * attempt),
            repeat_penalty=self._sampling.repeat_penalty + 0.1 * attempt,
            seed=(self._sampling.seed + ATTEMPTS * number + attempt) % MAX_SEED,
        )
