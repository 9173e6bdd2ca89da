"""Temp-LoRA (arXiv 2401.11504): an adapter learns a text, block by block, as it is written.

    1. Prompt.  Absorb a prompt longer than L_X: cut it into blocks and learn them in order.
    For each block of Δ tokens:
    2. Room.    Make room for it in the KV cache of W tokens, as the KV policy says.
    3. Block.   Generate it with adapter k, or score it if the text is given.
    4. Update.  Train adapter k + 1 on it, with the L_T tokens before it as context without loss, at
                the rate of given or of generated text; leave out generated text that loops.
    5. Swap.    Generate with adapter k + 1 from now on; keep the KV cache.

A block is learned when the next one is about to begin (`flush`): the last one of a job need not be.
Any step may raise an exception; the next call does what is left to do, and nothing twice.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, replace

from templora_edge import windows
from templora_edge.events import BlockReport, ScoredBlock, Token
from templora_edge.repetition import loops
from templora_edge.text_cache import TextCache
from templora_edge.updates import UpdateReport, Updates


class TempLoraLoop:
    """One text that can be absorbed, generated and scored, block by block, in any order."""

    def __init__(self, cache: TextCache, updates: Updates) -> None:
        self.blocks: list[BlockReport] = []
        self.text, self.options = cache.text, cache.options
        self._cache, self._updates = cache, updates
        self._unlearned: range | None = None  # the last block, until it is trained on

    def prompt(self, tokens: Sequence[int]) -> Iterator[BlockReport]:
        """Step 1: append a prompt, and absorb it if it is longer than L_X.

        What is before the last L_X tokens is lost once the cache is full, except in the weights.
        """
        too_long = len(self._cache.head) + len(tokens) > self.options.prefix_len
        if too_long and self._updates.enabled:
            yield from self.absorb(tokens)
        else:
            self.text.extend(tokens)

    def absorb(self, tokens: Sequence[int]) -> Iterator[BlockReport]:
        """Append ``tokens``: step 4 for each block, as if it had been generated, then step 5."""
        self.flush()
        for part in windows.cut(0, len(tokens), self.options.block_len):
            begin = len(self.text)
            self.text.extend(tokens[part.start : part.stop])
            self._end_block(begin, given=True)
            self._update()
            if part.stop == len(tokens):
                self._swap()
            yield self.blocks[-1]

    def generate(self, n_predict: int | None) -> Generator[Token | BlockReport, None, None]:
        """Generate ``n_predict`` tokens (None: no limit), or until the model ends the text.

        The text must not be empty. A block's report follows once it is learned, or at the end.
        """
        left, token = float("inf") if n_predict is None else n_predict, None
        while left > 0:
            if self.flush():  # steps 4 and 5 of the block before
                yield self.blocks[-1]
            begin = len(self.text)
            try:
                self._cache.make_room(self._updates.served)  # step 2
                while len(self.text) - begin < min(self.options.block_len, left):
                    if (token := self._cache.next_token()) is None:  # step 3
                        break
                    self.text.append(token)
                    yield Token(token, len(self.blocks))
            finally:  # also when the caller stops iterating
                left = 0 if token is None else left - (len(self.text) - begin)
                self._end_block(begin)
        if self._unlearned is not None:
            yield self.blocks[-1]

    def score(
        self, block: Sequence[int], before: Sequence[int] | None = None
    ) -> Iterator[ScoredBlock | BlockReport]:
        """Learn the block before, then append ``block`` and score it.

        Args:
            block: tokens to score, but for the first of a text that no BOS precedes.
            before: all the tokens that ``block`` is conditioned on, appended too; None: the text.
        """
        if self.flush():  # steps 4 and 5 of the block before
            yield self.blocks[-1]
        begin = len(self.text)
        if before is None:
            self._cache.make_room(self._updates.served)  # step 2
        nll = self._cache.score(block, before)  # step 3
        self._end_block(begin, given=True)
        yield ScoredBlock(tuple(nll))

    def flush(self) -> bool:
        """Do what is due of steps 4 and 5; return whether a block was still to be learned."""
        due = self._unlearned is not None
        self._update()
        self._swap()
        return due

    def _end_block(self, begin: int, *, given: bool = False) -> None:
        seconds, memory = self._cache.pop_seconds(), self._updates.rss_bytes
        if n := len(self.text) - begin:
            self._unlearned = range(begin, begin + n)
            self.blocks.append(BlockReport(len(self.blocks), n, seconds, given, rss_bytes=memory))

    def _update(self) -> None:
        """Step 4."""
        if (block := self._unlearned) is None:
            return
        tokens, own = self.text[block.start : block.stop], not self.blocks[-1].given
        if own and loops(self.text, block):
            self._note(UpdateReport(looped=True, rss_bytes=self._updates.rss_bytes))
        else:
            before = windows.train_prefix(block, self.options.train_prefix_len)
            prefix = self._cache.head + self.text[before.start : before.stop]
            states = self._cache.states(block)
            self._note(self._updates.learn(prefix, tokens, own=own, states=states))
        self._unlearned = None

    def _swap(self) -> None:
        """Step 5."""
        if (update := self._updates.swap()) is not None:
            self._note(update)

    def _note(self, update: UpdateReport) -> None:
        self.blocks[-1] = replace(self.blocks[-1], **asdict(update))
