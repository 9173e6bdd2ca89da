"""One run of a translation: its blocks, and the state it saves after each step."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from templora_edge.documents.markup import repaired
from templora_edge.translation.answers import Answers
from templora_edge.translation.literals import shown_pair
from templora_edge.translation.pair_loop import PairLoop
from templora_edge.translation.prompt import Pair
from templora_edge.translation.segmenter import assembled, segments
from templora_edge.translation.store.segment_row import Origin, SegmentRow
from templora_edge.translation.store.store import Learned, Store
from templora_edge.updates import Updates

Review = Callable[[Sequence[SegmentRow]], Sequence[str]]
"""Segments of a block -> their translations after a person's review."""


@dataclass(frozen=True, slots=True)
class Step:
    """Progress of a run."""

    phase: str
    """references, edits, segments, training, or flagged segments."""
    done: int
    """Pairs of references, edited or flagged segments, or tokens of the translated sources."""
    total: int
    row: SegmentRow | None = None
    """The segment that was just finished, if any."""


class TranslationRun:
    """A run of a job: iterate to translate; it can be killed at any time and resumed.

    Args:
        store: the job's durable state.
        loop: translates segments.
        updates: the update path.
        answers: asks for and checks translations.
        references: pairs to learn first.
        earlier: pairs to show before these, never learned.
        review: lets a person edit each block before it is learned.
        limit: most segments to translate; None is all.
    """

    def __init__(
        self,
        store: Store,
        loop: PairLoop,
        updates: Updates,
        answers: Answers,
        *,
        references: Sequence[Pair] = (),
        earlier: Sequence[Pair] = (),
        review: Review | None = None,
        limit: int | None = None,
    ) -> None:
        self._store, self._loop, self._updates, self._answers = store, loop, updates, answers
        self._references = tuple(map(shown_pair, references))
        self._earlier = (*map(shown_pair, earlier), *self._references)
        self._review, self._limit = review, limit
        self.review_s = 0.0
        """Seconds that a person took for reviews."""

    def __iter__(self) -> Iterator[Step]:
        """Learn the references, then translate the segments, block by block.

        Raises:
            TemploraError: the engine, training or the store failed; finished segments are kept.
        """
        learned = self._store.learned
        if learned.state is not None and self._updates.enabled:
            self._updates.load_state(self._store.folder / learned.state)
            self._updates.swap()
        yield from self._learn_references()
        everything = self._store.segments()
        rows = everything[: self._limit]
        lengths = {row.id: self._loop.n_tokens(row.source) for row in rows}
        total = sum(lengths.values())
        done = sum(lengths[row.id] for row in rows if row.translation is not None)
        passages, edits = [], []
        for one in _unlearned(rows):
            if _is_given(one) and one[-1] != everything[-1]:  # the end is not learned needlessly
                edits += one
            else:
                passages.append(one)
        yield from self._learn_edits(edits)
        yield Step("segments", done, total)
        for number, passage in enumerate(passages, 1):
            before = [row for row in self._store.segments() if row.position < passage[0].position]
            self._loop.begin_block((*self._earlier, *_believed(before)))
            block: list[SegmentRow] = []
            for row in passage:
                is_full = sum(one.tokens for one in block) >= self._loop.options.block_len
                if is_full or not self._answers.ask(row):
                    yield Step("training", done, total)
                    self._finish_block(block)
                    block = []
                    self._answers.ask(row)
                if row.translation is None:
                    done += lengths[row.id]
                finished = self._translated(row)
                block.append(finished)
                for pair in _believed([finished]):
                    self._loop.accept(pair, own=not finished.origin.is_given)
                yield Step("segments", done, total, finished)
            if number < len(passages):
                yield Step("training", done, total)
                self._finish_block(block)
            else:
                self._revise(block)

    def retry(self) -> Iterator[Step]:
        """Learn all segments that passed their checks, then translate the flagged ones again."""
        rows = self._store.segments()
        flagged = [row for row in rows if row.flags]
        yield Step("flagged segments", 0, len(flagged))
        if not flagged:
            return
        for before, block in self._loop.blocks_of(self._references):
            self._loop.begin_block(before)
            self._loop.learn(block, own=False)
        given = _believed([row for row in rows if row.origin.is_given])
        for before, block in self._loop.blocks_of(_believed(rows)):
            self._loop.begin_block((*self._earlier, *before))
            self._loop.learn_block(block, given)
        self._updates.swap()
        for number, row in enumerate(flagged, 1):
            before = _believed([other for other in rows if other.position < row.position])
            self._loop.begin_block((*self._earlier, *before))
            self._answers.ask(row)
            again = self._answers.best(row)
            if len(again.flags) < len(row.flags):
                self._store.finish_segment(again)
            yield Step("flagged segments", number, len(flagged), again)

    def flush(self) -> None:
        """Learn the segments that are left, so that the adapter has learned the whole document."""
        block = [row for row in self._store.segments() if not row.learned]
        if block:
            self._finish_block(block)

    def _learn_references(self) -> Iterator[Step]:
        if not self._updates.learns(own=False):
            return  # they are shown all the same
        blocks = list(self._loop.blocks_of(self._references))
        for index, (before, block) in enumerate(blocks):
            if index < self._store.learned.references:
                continue
            yield Step("references", len(before), len(self._references))
            self._loop.begin_block(before)
            self._loop.learn(block, own=False)
            self._keep(replace(self._store.learned, references=index + 1))
            if index + 1 == len(blocks):
                self._updates.swap()
            yield Step("references", len(before) + len(block), len(self._references))

    def _learn_edits(self, rows: Sequence[SegmentRow]) -> Iterator[Step]:
        """Learn ``rows``, which a person gave in finished blocks, in blocks of their own."""
        shown = [row for row in rows if _believed([row])]
        done = 0
        if self._updates.learns(own=False):
            for _, pairs in self._loop.blocks_of(_believed(shown)):
                yield Step("edits", done, len(shown))
                block = shown[done : done + len(pairs)]
                position = block[0].position
                before = [row for row in self._store.segments() if row.position < position]
                self._loop.begin_block((*self._earlier, *_believed(before)))
                self._loop.learn(pairs, own=False)
                learned = self._store.learned
                self._keep(replace(learned, blocks=learned.blocks + 1), block)
                done += len(pairs)
                yield Step("edits", done, len(shown))
            self._updates.swap()
        self._store.set_learned(self._store.learned, rows)

    def _translated(self, row: SegmentRow) -> SegmentRow:
        """``row``, which was asked, with a translation, which is saved; it may have one already."""
        if row.translation is None:
            row = self._answers.best(row)
            self._store.finish_segment(row)
        return row

    def _finish_block(self, block: Sequence[SegmentRow]) -> None:
        block = self._revise(block)
        has_learned = self._loop.finish_block()
        learned = self._store.learned
        if has_learned:
            self._keep(replace(learned, blocks=learned.blocks + 1), block)
        else:
            self._store.set_learned(learned, block)

    def _revise(self, block: Sequence[SegmentRow]) -> Sequence[SegmentRow]:
        """Let a person edit what no person has edited yet; what comes back counts as correct.

        So a block whose review is saved is not shown again, however the run ends.
        """
        rows = {row.id: row for row in block}
        left = [row for row in block if row.origin is not Origin.EDIT]
        if self._review is None or not any(map(_has_words, left)):
            return block
        begun = time.perf_counter()
        reviewed = self._review(left)
        self.review_s += time.perf_counter() - begun
        for row, text in zip(left, reviewed, strict=True):
            if text != row.translation:
                edited = replace(row, translation=repaired(row.source, text), origin=Origin.EDIT)
            else:
                edited = replace(row, origin=Origin.EDIT if _has_words(row) else row.origin)
            rows[row.id] = replace(edited, flags=())  # keep its token count, which ends blocks
        block = [*rows.values()]
        self._store.finish_segment(*block)
        self._loop.replace_block(_believed(block))
        return block

    def _keep(self, learned: Learned, block: Sequence[SegmentRow] = ()) -> None:
        """Save the state of training, if there is any, then note how far it is."""
        if self._updates.learned:
            name = f"training-{learned.references}-{learned.blocks}.pt"
            self._updates.save_state(self._store.folder / name)
            learned = replace(learned, state=name)
        self._store.set_learned(learned, block)


def segments_of(paragraphs: Sequence[str], loop: PairLoop) -> list[tuple[int, str]]:
    """Cut paragraphs into segments short enough for the model: (paragraph number, text) each."""
    return [
        (number, segment)
        for number, paragraph in enumerate(paragraphs)
        for segment in segments(paragraph, loop.fits)
    ]


def assemble(paragraphs: Sequence[str], rows: Sequence[SegmentRow]) -> list[str]:
    """Translations of whole paragraphs. Untranslated segments keep their source."""
    pairs: dict[int, list[tuple[str, str]]] = {}
    translated: set[int] = set()
    for row in rows:
        translation = row.source if row.translation is None else row.translation
        pairs.setdefault(row.paragraph, []).append((row.source, translation))
        if row.translation is not None:
            translated.add(row.paragraph)
    return [
        assembled(paragraph, pairs[number]) if number in translated else paragraph
        for number, paragraph in enumerate(paragraphs)
    ]


def _unlearned(rows: Sequence[SegmentRow]) -> list[list[SegmentRow]]:
    """The segments whose block is not finished, in passages of neighbours.

    There are several if segments were added to a part of the source that was learned.
    """
    return [list(group) for learned, group in groupby(rows, lambda row: row.learned) if not learned]


def _is_given(rows: Sequence[SegmentRow]) -> bool:
    """Whether nothing of ``rows`` is left to translate, and nothing in it is the model's."""
    return all(row.translation is not None and row.origin.is_given for row in rows)


def _has_words(row: SegmentRow) -> bool:
    """Whether there was something to translate; the model was not asked for what has no words."""
    return row.attempts > 0 or row.origin.is_given


def _believed(rows: Sequence[SegmentRow]) -> list[Pair]:
    """The pairs of the ``rows`` that are believed, as the model is shown them.

    Others would teach it their faults, or to copy.
    """
    return [shown_pair(Pair(row.source, str(row.translation))) for row in rows if row.is_believed]
