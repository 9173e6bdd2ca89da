"""Temp-LoRA (arXiv 2401.11504): an adapter learns a text, block by block, as it is written.

    1. Prompt.  Absorb a prompt longer than L_X: cut it into blocks and learn them in order.
    For each block of Δ tokens:
    2. Room.    Make room for it in the KV cache of W tokens, as the KV policy says.
    3. Block.   Generate it with adapter k, or score it if the text is given.
    4. Update.  Train adapter k + 1 on it, with the L_T tokens before it as context without loss, at
                the rate of given or of generated text; leave out generated text that loops.
    5. Swap.    Generate with adapter k + 1 from now on; keep the KV cache.

A block is learned when the next one is about to begin (`flush`): the last one of a job need not be.
With overlap it is learned while the next one is written, and served to the one after that, so that
the text does not depend on which is faster. Any step may raise an exception; the next call does
what is left to do, and nothing twice.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from templora_edge import windows
from templora_edge.events import BlockReport, ScoredBlock, Token
from templora_edge.protocols import Captured
from templora_edge.repetition import loops
from templora_edge.text_cache import CacheState, TextCache
from templora_edge.updates import UpdateReport, Updates

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class LoopState:
    """Where a loop is at the edge of a block, besides its text, blocks, cache and training."""

    cache: CacheState
    due: tuple[tuple[int, int, int], ...]
    """Blocks that are to be learned: number, first token, token after the last one."""
    learned: int
    """Number of the last block that was learned."""


class TempLoraLoop:
    """One text that can be absorbed, generated and scored, block by block, in any order."""

    def __init__(self, cache: TextCache, updates: Updates, *, overlap: bool = False) -> None:
        self.blocks: list[BlockReport] = []
        self.text, self.options = cache.text, cache.options
        self._cache, self._updates, self._overlap = cache, updates, overlap
        self._due: deque[tuple[int, range]] = deque()  # blocks to learn: number, tokens
        self._learned = 0  # number of the last block that was learned
        self._captured: Mapping[int, Captured] = {}  # of due blocks of an earlier run

    @property
    def n_opening(self) -> int:
        """Number of tokens before the text in every context: BOS and notes."""
        return len(self._cache.opening)

    def use_notes(self, tokens: Sequence[int]) -> None:
        """Put ``tokens`` at the head of every context from now on, after BOS.

        They are not part of the text, and no update sees them.

        Raises:
            OptionError: they take more than half of the prefix.
        """
        self._cache.use_notes(tokens)

    def prompt(self, tokens: Sequence[int], done: int = 0) -> Iterator[BlockReport]:
        """Step 1: append a prompt, and absorb it if it is longer than L_X.

        What is before the last L_X tokens is lost once the cache is full, except in the weights.

        Args:
            tokens: tokens of the prompt.
            done: how many of them the text ends with already, absorbed.
        """
        too_long = self.n_opening + len(tokens) > self.options.prefix_len
        if too_long and self._updates.enabled:
            yield from self.absorb(tokens, done)
        else:
            self.text.extend(tokens[done:])

    def absorb(self, tokens: Sequence[int], done: int = 0) -> Iterator[BlockReport]:
        """Append ``tokens``: step 4 for each block, as if it had been generated, then step 5.

        The first ``done`` of them, a whole number of blocks or all, were absorbed before.
        """
        self.flush()
        for part in windows.cut(done, len(tokens), self.options.block_len):
            begin = len(self.text)
            self.text.extend(tokens[part.start : part.stop])
            self._end_block(begin, given=True)
            self._update(*self._due[0])
            if part.stop == len(tokens):
                self._swap()
            yield self.blocks[-1]

    def generate(self, n_predict: int | None) -> Generator[Token | BlockReport, None, None]:
        """Generate ``n_predict`` tokens (None: no limit), or until the model ends the text.

        The text must not be empty. A block's report follows once it is learned, or at the end.
        """
        left = float("inf") if n_predict is None else n_predict
        while left > 0:
            yield from self.next_block()
            begin = len(self.text)
            goes_on = yield from self.write_block(int(min(left, self.options.block_len)))
            left = left - (len(self.text) - begin) if goes_on else 0
        yield from self.unlearned

    def write_block(self, n_tokens: int, given: Sequence[int] = ()) -> Generator[Token, None, bool]:
        """Generate a block of ``n_tokens``, or until the model ends the text, after `next_block`.

        Args:
            n_tokens: length of the block; a whole one has Δ.
            given: its first tokens, where they are known: those that an earlier run generated.

        Returns:
            Whether the text goes on.
        """
        self._begin_learning()
        begin = len(self.text)
        try:
            self._cache.make_room(self._updates.served)  # step 2
            for known in given:
                self._cache.take_token(known)
                self.text.append(known)
                yield Token(known, len(self.blocks))
            while len(self.text) - begin < n_tokens:
                if (token := self._cache.next_token()) is None:  # step 3
                    return False
                self.text.append(token)
                yield Token(token, len(self.blocks))
        finally:  # also when the caller stops iterating
            self._end_block(begin)
        return True

    def score(
        self, block: Sequence[int], before: Sequence[int] | None = None
    ) -> Iterator[ScoredBlock | BlockReport]:
        """Learn the block before, then append ``block`` and score it.

        Args:
            block: tokens to score, but for the first of a text that no BOS precedes.
            before: all the tokens that ``block`` is conditioned on, appended too; None: the text.
        """
        yield from self.next_block()
        self._begin_learning()
        begin = len(self.text)
        if before is None:
            self._cache.make_room(self._updates.served)  # step 2
        nll = self._cache.score(block, before)  # step 3
        self._end_block(begin, given=True)
        yield ScoredBlock(tuple(nll))

    def take_back(self, n: int, instead: Sequence[int] = ()) -> list[BlockReport]:
        """Replace the last ``n`` tokens with ``instead``, after they were generated.

        What was learned of them stays learned; blocks before the last one stay as they were.

        Returns:
            Reports of blocks before the last one, which are learned first.
        """
        reports = self.flush(keep=1)
        number, block = self._due[-1]
        self._cache.cut(len(self.text) - n)
        self.text.extend(instead)
        left = range(block.start, len(self.text))
        self._due[-1] = (number, left)
        self.blocks[number] = replace(self.blocks[number], tokens=len(left))
        if not left:
            self._due.pop()
            self.blocks.pop()
        return reports

    @property
    def unlearned(self) -> list[BlockReport]:
        """Reports of the blocks that are still to be learned."""
        return [self.blocks[number] for number, _ in self._due]

    def flush(self, *, keep: int = 0) -> list[BlockReport]:
        """Do steps 4 and 5 for blocks that are due, but for the last ``keep``; return reports."""
        reports = []
        while len(self._due) > keep:
            number, block = self._due[0]
            self._update(number, block)
            self._swap()
            reports.append(self.blocks[number])
        self._swap()
        return reports

    def state(self) -> LoopState:
        """Where the loop is, after `next_block` and before `write_block`."""
        due = tuple((number, block.start, block.stop) for number, block in self._due)
        return LoopState(self._cache.state(self._updates.served), due, self._learned)

    def captured(self) -> dict[int, Captured]:
        """The engine's captures of the blocks that are to be learned, by number."""
        found = {number: self._captured_of(number, block) for number, block in self._due}
        return {number: one for number, one in found.items() if one is not None}

    def restore(
        self,
        text: Sequence[int],
        blocks: Sequence[BlockReport],
        state: LoopState,
        captured: Mapping[int, Captured],
    ) -> None:
        """Go on with ``text`` from ``state``; engine and adapter must be as they were then."""
        self.text.extend(text)
        self.blocks.extend(blocks)
        self._cache.restore(state.cache, self._updates.served)
        self._due.extend((number, range(begin, end)) for number, begin, end in state.due)
        self._learned, self._captured = state.learned, captured

    def next_block(self) -> list[BlockReport]:
        """Steps 4 and 5, before a block; with overlap, the last one is learned beside the next."""
        return self.flush(keep=int(self._overlap))

    def _begin_learning(self) -> None:
        """With overlap, begin step 4 of the last block."""
        if self._overlap and self._due and not self._loops(*self._due[-1]):
            self._learn(self._updates.begin, *self._due[-1])

    def _end_block(self, begin: int, *, given: bool = False) -> None:
        seconds, memory = self._cache.pop_seconds(), self._updates.rss_bytes
        if n := len(self.text) - begin:
            self._due.append((len(self.blocks), range(begin, begin + n)))
            self.blocks.append(
                BlockReport(len(self.blocks), n, seconds, given, begin, rss_bytes=memory)
            )

    def _update(self, number: int, block: range) -> None:
        """Step 4."""
        if self._loops(number, block):
            update = UpdateReport(looped=True, rss_bytes=self._updates.rss_bytes)
        else:
            update = self._learn(self._updates.learn, number, block)
        self._note(number, update)
        self._learned = number
        self._due.popleft()

    def _swap(self) -> None:
        """Step 5."""
        if (update := self._updates.swap()) is not None:
            self._note(self._learned, update)

    def _loops(self, number: int, block: range) -> bool:
        return not self.blocks[number].given and loops(self.text, block)

    def _learn(self, how: Callable[..., Result], number: int, block: range) -> Result:
        before = windows.train_prefix(block, self.options.train_prefix_len)
        prefix = self._cache.head + self.text[before.start : before.stop]
        tokens, own = self.text[block.start : block.stop], not self.blocks[number].given
        return how(prefix, tokens, own=own, captured=self._captured_of(number, block))

    def _captured_of(self, number: int, block: range) -> Captured | None:
        if number in self._captured:
            return self._captured[number]
        # without L_T an update does not see the token that predicts its first one
        if block.start > 0 and self.options.train_prefix_len == 0:
            return None
        return self._cache.captured(block)

    def _note(self, number: int, update: UpdateReport) -> None:
        self.blocks[number] = replace(self.blocks[number], **asdict(update))
