"""From a segment to its translation: ask, check, retry, and keep the best answer."""

import time
from dataclasses import dataclass, replace
from typing import Final

from templora_edge.options import MAX_SEED, SamplingOptions
from templora_edge.translation.checks import Flag, check
from templora_edge.translation.glossary import Glossary
from templora_edge.translation.pair_loop import PairLoop
from templora_edge.translation.segmenter import has_words
from templora_edge.translation.store import SegmentRow

ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Languages:
    """Languages of a document and its translation, as BCP 47 tags."""

    source: str
    target: str


class Answers:
    """Asks for translations of a segment until one passes all checks."""

    def __init__(
        self, loop: PairLoop, languages: Languages, sampling: SamplingOptions, glossary: Glossary
    ) -> None:
        self._loop, self._languages = loop, languages
        self._sampling, self._glossary = sampling, glossary

    def ask(self, row: SegmentRow) -> bool:
        """Decode the prompt for a segment, unless it has no words; False: as in `PairLoop.ask`."""
        if not has_words(row.source):
            return True
        return self._loop.ask(row.source, self._glossary.found_in(row.source))

    def best(self, row: SegmentRow) -> SegmentRow:
        """The first answer to `ask` that passes all checks, or else the one with fewest flags."""
        if not has_words(row.source):  # a model would make something up for it
            return replace(row, translation=row.source, tokens=self._loop.n_tokens(row.source))
        begun = time.perf_counter()
        n_predict = self._loop.longest_answer(row.source)
        answers: list[SegmentRow] = []
        while len(answers) < ATTEMPTS and not (answers and not answers[-1].flags):
            answer = self._loop.answer(self._sampling_of(row.id, len(answers)), n_predict)
            flags = check(
                row.source,
                answer.text,
                source_language=self._languages.source,
                target_language=self._languages.target,
                finished=answer.finished,
            )
            answers.append(replace(row, translation=answer.text, flags=tuple(flags)))
        best = min(answers, key=lambda one: (Flag.EMPTY in one.flags, len(one.flags)))
        if Flag.EMPTY in best.flags:  # keep the source instead
            best = replace(best, translation=row.source)
        return replace(
            best,
            attempts=len(answers),
            tokens=self._loop.n_tokens(str(best.translation)),
            seconds=time.perf_counter() - begun,
        )

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
