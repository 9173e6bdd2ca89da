"""Temp-LoRA (arXiv 2401.11504), over an engine that generates and a trainer that learns.

    for each block of Δ tokens:
        make room in the KV cache                      (the KV policy)
        generate the block with adapter k              (Engine)
        train adapter k+1 on it, the L_T tokens before
        it as context without loss                     (Trainer)
        swap adapter k+1 in; the KV cache stays        (Engine)

A block is learned when the next one is about to begin, so that the last block of a job is not
trained on for nothing.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from templora_edge import windows
from templora_edge.errors import OptionError
from templora_edge.host import memory
from templora_edge.options import BlockOptions
from templora_edge.protocols import Engine, Trainer


@dataclass(frozen=True, slots=True)
class Token:
    """A generated token."""

    id: int
    block: int


@dataclass(frozen=True, slots=True)
class BlockReport:
    """One block: how long each step took, in seconds, and what training did.

    Losses are None, and times 0, for what did not happen.
    """

    index: int
    tokens: int
    generate_s: float = 0.0
    """Decoding, sampling and scoring."""
    train_s: float = 0.0
    convert_s: float = 0.0
    swap_s: float = 0.0
    loss_before: float | None = None
    loss_after: float | None = None
    rss_bytes: int = 0
    """Resident memory of the generating and the training process when the block was done; pages
    of the base that both map count twice."""
    absorbed: bool = False
    """Given, not generated."""


@dataclass(frozen=True, slots=True)
class ScoredBlock:
    """A block's negative log-likelihood, in nats a token, before it was trained on."""

    nll: tuple[float, ...]


class TempLoraLoop:
    """One text that is absorbed, generated and scored, block by block, in any order."""

    def __init__(
        self,
        engine: Engine,
        trainer: Trainer | None,
        options: BlockOptions,
        head: Sequence[int] = (),
    ) -> None:
        """Begin an empty text.

        Args:
            trainer: None runs the same blocks and KV policy without Temp-LoRA.
            head: what every context and every training sequence begins with, and is no part of the
                text: BOS, or nothing.

        Raises:
            OptionError: the prefix has no room for more than the head.
        """
        if options.prefix_len <= len(head):
            raise OptionError(
                f"prefix is {options.prefix_len} tokens; this model needs {len(head) + 1} or more, "
                "for BOS comes first; raise --prefix or lower --block"
            )
        self.options = options
        self._head = list(head)
        self.text: list[int] = []
        self.blocks: list[BlockReport] = []
        self._engine = engine
        self._trainer = trainer
        self._decoded = 0  # tokens of the text that have been through the engine
        self._unlearned: range | None = None  # the last block, until it is trained on
        self._unserved = False  # the trainer's adapter is newer than the engine's
        self._swapped = False  # the adapter changed since the cache was last made room in
        self._trainer_rss = 0

    def absorb(self, tokens: Sequence[int]) -> Iterator[BlockReport]:
        """Train on ``tokens`` as if they had been generated; one swap at the end."""
        self._learn()
        for part in windows.cut(0, len(tokens), self.options.block_len):
            begin = len(self.text)
            self.text.extend(tokens[part.start : part.stop])
            self._finish(range(begin, len(self.text)), 0.0, absorbed=True)
            self._train()
            if part.stop == len(tokens):
                self._swap()
            yield self.blocks[-1]

    def prompt(self, tokens: Sequence[int]) -> Iterator[BlockReport]:
        """Append a prompt; absorb one that is longer than the prefix.

        Generation conditions on ``prefix_len`` tokens once the cache is full, so the head of a
        longer prompt would be lost if it were not in the weights.
        """
        too_long = len(self._head) + len(tokens) > self.options.prefix_len
        if too_long and self._trainer is not None:
            yield from self.absorb(tokens)
        else:
            self.text.extend(tokens)

    def generate(self, n_predict: int | None) -> Generator[Token | BlockReport, None, None]:
        """Write ``n_predict`` tokens (None: without limit), or until the model ends the text.

        The text must not be empty. A block's report follows once it is learned; the last one's,
        not learned yet, comes at the end.
        """
        left = float("inf") if n_predict is None else n_predict
        ended = False
        while left > 0 and not ended:
            if self._learn():
                yield self.blocks[-1]
            clock, begin = _Clock(), len(self.text)
            try:
                with clock, self._whole_or_not_at_all():
                    self._make_room()
                while len(self.text) - begin < min(self.options.block_len, left):
                    with clock, self._whole_or_not_at_all():
                        self._engine.decode(self._pending())
                        self._decoded = len(self.text)
                        token = self._engine.sample()
                    if ended := self._engine.is_end(token):
                        break
                    self.text.append(token)
                    yield Token(token, len(self.blocks))
            finally:  # also when the reader stops reading
                block = range(begin, len(self.text))
                left -= len(block)
                if block:
                    self._finish(block, clock.seconds)
        if self._unlearned is not None:
            yield self.blocks[-1]

    def score(self, tokens: Sequence[int]) -> Iterator[ScoredBlock | BlockReport]:
        """Score ``tokens`` as the continuation of the text: each block before it is trained on.

        The first token of a text is not scored where nothing precedes it, not even BOS.
        """
        for block in windows.cut(0, len(tokens), self.options.block_len):
            if self._learn():
                yield self.blocks[-1]
            clock, begin, new = _Clock(), len(self.text), list(tokens[block.start : block.stop])
            with clock, self._whole_or_not_at_all():
                self._make_room()
                pending = self._pending()
                unscored = 0 if pending or self._engine.n_past else 1
                pending, scored = pending + new[:unscored], new[unscored:]
                nll = self._engine.score(pending, scored) if scored else []
                self.text.extend(new)
                # all but the last token went through the engine
                self._decoded = len(self.text) - 1 if scored else begin
            self._finish(range(begin, len(self.text)), clock.seconds)
            yield ScoredBlock(tuple(nll))
        if self._unlearned is not None:
            yield self.blocks[-1]

    def score_chunk(self, before: Sequence[int], tokens: Sequence[int]) -> ScoredBlock:
        """Score ``tokens`` after ``before`` alone, from an empty cache; both are one block."""
        self._learn()
        begin = len(self.text)
        with _Clock() as clock, self._whole_or_not_at_all():
            self._engine.clear()
            nll = self._engine.score([*self._head, *before], tokens)
            self.text.extend((*before, *tokens))
            self._decoded = len(self.text) - 1
        self._finish(range(begin, len(self.text)), clock.seconds)
        return ScoredBlock(tuple(nll))

    def settle(self) -> None:
        """Train on the last block too, so that the adapter holds the whole text."""
        self._learn()

    def _pending(self) -> list[int]:
        """What is to be decoded next: an empty cache's head, and the text that is not cached."""
        head = [] if self._engine.n_past else self._head
        return head + self.text[self._decoded :]

    @contextmanager
    def _whole_or_not_at_all(self) -> Iterator[None]:
        """Refill the cache before the next block if this decoding is interrupted or fails."""
        try:
            yield
        except BaseException:
            plan = windows.last_prefix(self.options, len(self._head), len(self.text))
            self._refill(plan.start)
            raise

    def _refill(self, start: int) -> None:
        """Empty the cache; what is pending then begins at ``start``."""
        self._engine.clear()
        self._decoded = start

    def _make_room(self) -> None:
        """See to it that the pending tokens and one whole block fit behind what is cached."""
        plan = windows.plan_kv(
            self.options,
            n_head=len(self._head),
            cached=self._engine.n_past,
            pending=len(self._pending()),
            text_len=len(self.text),
            swapped=self._swapped,
        )
        match plan:
            case windows.Refill(start):
                self._refill(start)
            case windows.Shift(keep, discard):
                self._engine.shift(keep, discard)
            case windows.Keep():
                pass
        self._swapped = False

    def _finish(self, block: range, seconds: float, *, absorbed: bool = False) -> None:
        rss = memory.resident() + self._trainer_rss
        self.blocks.append(
            BlockReport(len(self.blocks), len(block), seconds, rss_bytes=rss, absorbed=absorbed)
        )
        self._unlearned = block

    def _learn(self) -> bool:
        """Train on the last finished block and swap the new adapter in; False if there is none.

        What an exception interrupted is done the next time; a trainer knows a call made again.
        """
        unlearned = self._unlearned is not None
        self._train()
        self._swap()
        return unlearned

    def _train(self) -> None:
        block = self._unlearned
        if self._trainer is None or block is None:
            self._unlearned = None
            return
        prefix = windows.train_prefix(block, self.options.train_prefix_len)
        with _Clock() as clock:
            update = self._trainer.train(
                self._head + self.text[prefix.start : prefix.stop],
                self.text[block.start : block.stop],
            )
        self._unlearned, self._unserved = None, True
        self._trainer_rss = update.rss_bytes
        self.blocks[-1] = replace(
            self.blocks[-1],
            train_s=clock.seconds,
            loss_before=update.loss_before,
            loss_after=update.loss_after,
            rss_bytes=memory.resident() + self._trainer_rss,
        )

    def _swap(self) -> None:
        if self._trainer is None or not self._unserved:
            return
        with _Clock() as convert:
            adapter = self._trainer.export()
        try:
            with _Clock() as swap:
                self._engine.swap(adapter)
        finally:
            adapter.unlink()
        self._unserved, self._swapped = False, True
        self.blocks[-1] = replace(self.blocks[-1], convert_s=convert.seconds, swap_s=swap.seconds)


class _Clock:
    """Adds up the time spent inside its `with` blocks, in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> "_Clock":
        self._started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._started
