"""The translation of one document under way: segments, checks, blocks, and what is durable."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Final, Protocol

from templora_edge.documents.markup import is_kept, without_spans
from templora_edge.options import MAX_SEED, SamplingOptions
from templora_edge.protocols import Trainer
from templora_edge.translation.checks import Flag, check
from templora_edge.translation.glossary import Glossary
from templora_edge.translation.pair_loop import PairLoop
from templora_edge.translation.prompt import Pair
from templora_edge.translation.segmenter import has_words, join, split
from templora_edge.translation.store import Job, Learned, SegmentRow

ATTEMPTS: Final = 3

Review = Callable[[Sequence[Pair]], Sequence[str]]
"""Pairs of a block -> their translations as a person wants them."""


class DurableTrainer(Trainer, Protocol):
    """A trainer whose state can be put aside."""

    def save(self, path: Path) -> None:
        """Write all that training depends on."""
        ...

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote."""
        ...


@dataclass(frozen=True, slots=True)
class Languages:
    """BCP 47 tags."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is."""

    phase: str
    """references, segments, training, or flagged segments."""
    done: int
    """Pairs of the references, tokens of the segments' sources, or flagged segments."""
    total: int
    row: SegmentRow | None = None
    """The segment that was just finished."""


class TranslationRun:
    """Iterate to work; at any moment the job can be killed and taken up again.

    Args:
        paragraphs: of the document.
        references: pairs that are learned first.
        review: shows each block to a person before it is learned.
        limit: segments to do; None is all.
    """

    def __init__(
        self,
        job: Job,
        loop: PairLoop,
        trainer: DurableTrainer | None,
        languages: Languages,
        sampling: SamplingOptions,
        *,
        references: Sequence[Pair] = (),
        glossary: Glossary | None = None,
        review: Review | None = None,
        limit: int | None = None,
    ) -> None:
        self._job, self._loop, self._trainer = job, loop, trainer
        self._languages, self._sampling = languages, sampling
        self._references, self._review, self._limit = tuple(references), review, limit
        self._glossary = glossary or Glossary(())

    def __iter__(self) -> Iterator[Progress]:
        """Learn the references, then translate segment after segment, block after block.

        Raises:
            TemploraError: engine, training or job failed; what is finished is kept.
        """
        learned = self._job.learned
        if learned.state is not None and self._trainer is not None:
            self._trainer.load(self._job.folder / learned.state)
            self._loop.swap()
        yield from self._learn_references()
        rows = self._job.segments()
        n_learned = self._job.learned.segments
        self._loop.begin_block((*self._references, *_believed(rows[:n_learned])))
        done = list(accumulate(self._loop.n_tokens(row.source) for row in rows))
        block: list[SegmentRow] = []
        for index in range(n_learned, min(len(rows), self._limit or len(rows))):
            row = self._segment(rows[index])
            block.append(row)
            if not row.flags:
                self._loop.accept(Pair(row.source, str(row.translation)))
            yield Progress("segments", done[index], done[-1], row)
            if sum(one.tokens for one in block) >= self._loop.options.block_len:
                if index + 1 < len(rows):  # nothing comes after the last block
                    yield Progress("training", done[index], done[-1])
                    self._finish_block(block, index + 1)
                block = []

    def retry(self) -> Iterator[Progress]:
        """Translate flagged segments anew, after learning all that passed its checks."""
        rows = self._job.segments()
        believed = (*self._references, *_believed(rows))
        for before, block in self._blocks_of(believed):
            self._loop.begin_block(before)
            self._loop.learn(block)
        self._loop.swap()
        flagged = [row for row in rows if row.flags]
        for number, row in enumerate(flagged, 1):
            before = _believed([other for other in rows if other.id < row.id])
            self._loop.begin_block((*self._references, *before))
            self._loop.ask(row.source, self._glossary.found_in(row.source))
            again = self._translate(row)
            if len(again.flags) < len(row.flags):
                self._job.finish_segment(again)
            yield Progress("flagged segments", number, len(flagged), again)

    def settle(self) -> None:
        """Learn what is left, so that the adapter holds the whole document."""
        learned = self._job.learned
        rows = self._job.segments()
        if learned.segments < len(rows):
            self._finish_block(rows[learned.segments :], len(rows))

    def _learn_references(self) -> Iterator[Progress]:
        blocks = list(self._blocks_of(self._references))
        for index, (before, block) in enumerate(blocks):
            if index < self._job.learned.references:
                continue
            self._loop.begin_block(before)
            self._loop.learn(block)
            self._keep(replace(self._job.learned, references=index + 1))
            if index + 1 == len(blocks):
                self._loop.swap()
            yield Progress("references", len(before) + len(block), len(self._references))

    def _blocks_of(self, pairs: Sequence[Pair]) -> Iterator[tuple[Sequence[Pair], Sequence[Pair]]]:
        """``pairs`` in runs of Δ tokens, each with all that precede it."""
        begin, n_tokens = 0, 0
        for end, pair in enumerate(pairs, 1):
            n_tokens += self._loop.n_tokens(pair.translation)
            if n_tokens >= self._loop.options.block_len or end == len(pairs):
                yield pairs[:begin], pairs[begin:end]
                begin, n_tokens = end, 0

    def _segment(self, row: SegmentRow) -> SegmentRow:
        """``row`` with its translation, which is on disk; one that has it is only read again."""
        if has_words(row.source):
            self._loop.ask(row.source, self._glossary.found_in(row.source))
            translate = self._translate
        else:
            translate = self._copy
        if row.translation is None:
            row = translate(row)
            self._job.finish_segment(row)
        return row

    def _copy(self, row: SegmentRow) -> SegmentRow:
        """What has no words, as it is: a model would make something up for it."""
        return replace(row, translation=row.source, tokens=self._loop.n_tokens(row.source))

    def _translate(self, row: SegmentRow) -> SegmentRow:
        """An answer to what was asked that passes its checks, or the one with the fewest flags."""
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
        if Flag.EMPTY in best.flags:  # the source keeps its place
            best = replace(best, translation=row.source)
        return replace(
            best,
            attempts=len(answers),
            tokens=self._loop.n_tokens(str(best.translation)),
            seconds=time.perf_counter() - begun,
        )

    def _sampling_of(self, number: int, attempt: int) -> SamplingOptions:
        """As asked for at first; then warmer, and with a stronger penalty."""
        if attempt == 0:
            return self._sampling
        return replace(
            self._sampling,
            temperature=max(self._sampling.temperature, 0.3 * attempt),
            repeat_penalty=self._sampling.repeat_penalty + 0.1 * attempt,
            seed=(self._sampling.seed + ATTEMPTS * number + attempt) % MAX_SEED,
        )

    def _finish_block(self, block: Sequence[SegmentRow], n_segments: int) -> None:
        if self._review is not None:
            self._revise(block)
        self._loop.finish_block()
        before = self._job.learned
        self._keep(replace(before, segments=n_segments, blocks=before.blocks + 1))

    def _revise(self, block: Sequence[SegmentRow]) -> None:
        """Let a person edit ``block``; what a person has seen is believed."""
        if self._review is None:
            return
        pairs = [Pair(row.source, str(row.translation)) for row in block]
        edited = [
            replace(row, translation=text, flags=())  # its tokens, which end blocks, stay
            for row, text in zip(block, self._review(pairs), strict=True)
        ]
        for row in edited:
            self._job.finish_segment(row)
        self._loop.replace_block(_believed(edited))

    def _keep(self, learned: Learned) -> None:
        """Note how far training is, its state first."""
        if self._trainer is not None:
            name = f"training-{learned.references}-{learned.blocks}.pt"
            temporary = self._job.folder / f".{name}"
            try:
                self._trainer.save(temporary)
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
                temporary.replace(self._job.folder / name)
            finally:
                temporary.unlink(missing_ok=True)
            learned = replace(learned, state=name)
        self._job.set_learned(learned)


def segments_of(paragraphs: Sequence[str], loop: PairLoop) -> list[tuple[int, str]]:
    """Pieces that the model can take, each with the number of its paragraph."""
    return [
        (number, piece.strip())
        for number, paragraph in enumerate(paragraphs)
        for piece in split(paragraph, loop.fits)
        if piece.strip()
    ]


def assemble(paragraphs: Sequence[str], rows: Sequence[SegmentRow]) -> list[str]:
    """Translations of whole paragraphs; where markup was lost, as plain text.

    What is not translated yet stays as it was.
    """
    pieces: dict[int, list[str]] = {}
    for row in rows:
        pieces.setdefault(row.paragraph, []).append(row.translation or row.source)
    whole = []
    for number, paragraph in enumerate(paragraphs):
        text = join(pieces.get(number, [paragraph]))
        whole.append(text if is_kept(paragraph, text) else without_spans(paragraph, text))
    return whole


def _believed(rows: Sequence[SegmentRow]) -> list[Pair]:
    """Pairs that passed every check."""
    return [
        Pair(row.source, row.translation)
        for row in rows
        if row.translation is not None and not row.flags
    ]
