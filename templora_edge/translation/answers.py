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
from templora_edge.translation.glossary.glossary import Glossary
from templora_edge.translation.literals import Literals, shown_pair
from templora_edge.translation.memory import Memory
from templora_edge.translation.pair_loop import PairLoop
from templora_edge.translation.prompt import labels
from templora_edge.translation.segmenter import has_words
from templora_edge.translation.store.segment_row import Origin, SegmentRow

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
        memory: translations that are taken over, or shown to the model.
    """

    def __init__(
        self,
        loop: PairLoop,
        languages: Languages,
        sampling: SamplingOptions,
        glossary: Glossary,
        known: Iterable[SegmentRow] = (),
        memory: Memory | None = None,
    ) -> None:
        self._loop, self._languages = loop, languages
        self._sampling, self._glossary = sampling, glossary
        self._memory = memory or Memory()
        self._labels = labels(languages.source, languages.target)
        self._sources: defaultdict[str, set[str]] = defaultdict(set)
        """Translation without markup -> sources that have it."""
        for row in known:
            self._remember(row)

    def ask(self, row: SegmentRow) -> bool:
        """Decode the prompt for a segment; False: as in `PairLoop.ask`.

        A segment that has no words, or whose translation is given, is not asked for.
        """
        shown = Literals.of(row.source).shown
        if not has_words(shown):
            return True
        if self._is_given(row):
            return self._loop.has_room(shown)
        return self._ask(row, shown)

    def best(self, row: SegmentRow) -> SegmentRow:
        """The first answer to `ask` that passes all checks, or else the one with fewest flags.

        Its placeholders and literals are those of the segment, whatever the model made of them.
        """
        literals = Literals.of(row.source)
        if not has_words(literals.shown):  # a model would make something up for it
            copied = replace(row, translation=row.source, origin=Origin.MODEL)
            return replace(copied, tokens=self._loop.n_tokens(row.source))
        known = self._memory.exact(row.source)
        if known is not None:
            taken = replace(row, translation=known, origin=Origin.MEMORY, flags=())
            self._remember(taken)
            return replace(taken, tokens=self._loop.n_tokens(known))
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
            origin=Origin.MODEL,
            attempts=len(answers),
            tokens=self._loop.n_tokens(str(best.translation)),
            seconds=time.perf_counter() - begun,
        )

    def _attempt(self, row: SegmentRow, literals: Literals, attempt: int) -> SegmentRow:
        """Another answer to `ask`, checked as the model wrote it, then repaired."""
        shown = literals.shown
        sampling = self._sampling_of(row.position, attempt)
        is_last = attempt + 1 == ATTEMPTS and PLACEHOLDER.search(row.source) is not None
        if is_last:  # without markup, which may be what confuses the model
            shown = Literals.of(plain(row.source)).shown
            self._ask(row, shown)
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

    def _ask(self, row: SegmentRow, shown: str) -> bool:
        close = self._memory.close(row.source)
        terms = self._glossary.found_in(row.source)
        return self._loop.ask(shown, terms, None if close is None else shown_pair(close))

    def _is_given(self, row: SegmentRow) -> bool:
        """Whether the model need not translate ``row``; the same before and after it is done."""
        if row.translation is None:
            return self._memory.exact(row.source) is not None
        return row.origin.is_given

    def _remember(self, row: SegmentRow) -> None:
        """Note whose translation that of ``row`` is, unless it is its source."""
        if row.translation is not None and row.translation != row.source:
            self._sources[plain(row.translation)].add(row.source)

    def _sampling_of(self, position: int, attempt: int) -> SamplingOptions:
        """The user's sampling at first; then a higher temperature and repeat penalty each time."""
        if attempt == 0:
            return self._sampling
        return replace(
            self._sampling,
            temperature=max(self._sampling.temperature, 0.3 * attempt),
            repeat_penalty=self._sampling.repeat_penalty + 0.1 * attempt,
            seed=(self._sampling.seed + ATTEMPTS * position + attempt) % MAX_SEED,
        )
