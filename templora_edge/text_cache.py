"""The KV cache of one text: which tokens are decoded, and how room is made for a block."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from templora_edge import windows
from templora_edge.errors import OptionError
from templora_edge.options import BlockOptions
from templora_edge.protocols import Captured, Engine


@dataclass(frozen=True, slots=True)
class CacheState:
    """Which part of a text is cached, between two blocks."""

    decoded: int
    """Tokens of the text that the engine has decoded."""
    apart: int
    """First tokens in the cache that the text goes on after only with a gap."""
    swapped: bool
    """Whether the adapter has changed since room was last made."""


class TextCache:
    """A text, with the engine's cache as a window on its end.

    If an exception interrupts a step, KeyboardInterrupt included, the text stays as it was, and the
    cache is filled again from the last L_X tokens.
    """

    def __init__(self, engine: Engine, options: BlockOptions, head: Sequence[int] = ()) -> None:
        """Begin an empty text.

        Args:
            engine: engine whose cache is used.
            options: lengths and KV policy, resolved.
            head: tokens that every context begins with and that are not part of the text: BOS, or
                none.

        Raises:
            OptionError: the prefix has no room for more than the head.
        """
        if options.prefix_len <= len(head):
            raise OptionError(
                f"prefix is {options.prefix_len} tokens; this model needs {len(head) + 1} or more, "
                "because BOS comes first; raise --prefix or lower --block"
            )
        self.text: list[int] = []
        self.head = list(head)
        self.options = options
        self._engine = engine
        self._decoded = 0  # tokens of the text that the engine has decoded
        self._apart = 0  # first tokens in the cache that the text goes on after only with a gap
        self._adapter = 0  # number of the adapter in use when room was last made
        self._seconds = 0.0

    def state(self, adapter: int) -> CacheState:
        """Which part of the text is cached; ``adapter`` as in `make_room`."""
        return CacheState(self._decoded, self._apart, adapter != self._adapter)

    def restore(self, state: CacheState, adapter: int) -> None:
        """Take up the engine's cache, which holds what it held in ``state``.

        If the engine holds nothing, it is filled again from the last L_X tokens.
        """
        self._adapter = adapter - state.swapped
        if self._engine.n_past:
            self._decoded, self._apart = state.decoded, state.apart
        else:
            self._refill_last()

    def make_room(self, adapter: int) -> None:
        """Ensure that the cache has room for the pending tokens and one whole block.

        Args:
            adapter: number of the engine's adapter; the policy may recompute what another adapter
                computed.
        """
        with self._step():
            plan = windows.plan_kv(
                self.options,
                n_head=len(self.head),
                cached=self._engine.n_past,
                pending=len(self._pending()),
                text_len=len(self.text),
                swapped=adapter != self._adapter,
            )
            match plan:
                case windows.Refill(start):
                    self._refill(start)
                case windows.Shift(keep, discard):
                    self._engine.shift(keep, discard)
                    self._apart = keep
                case windows.Keep():
                    pass
            self._adapter = adapter

    def next_token(self) -> int | None:
        """Decode the pending tokens and sample the next one; None if the model ends the text."""
        with self._step():
            self._engine.decode(self._pending())
            self._decoded = len(self.text)
            token = self._engine.sample()
        return None if self._engine.is_end(token) else token

    def take_token(self, token: int) -> None:
        """Decode the pending tokens and take ``token`` as what was sampled after them."""
        with self._step():
            self._engine.decode(self._pending())
            self._decoded = len(self.text)
            self._engine.take(token)

    def score(self, tokens: Sequence[int], before: Sequence[int] | None = None) -> list[float]:
        """Append ``tokens`` and return the NLL of each in nats.

        A first token that nothing precedes has none.

        Args:
            tokens: tokens to score.
            before: tokens that precede them in an empty cache, appended too; None is the text so
                far.
        """
        with self._step():
            if before is None:
                new, pending, scored = list(tokens), self._pending(), list(tokens)
                if not (pending or self._engine.n_past):
                    pending, scored = scored[:1], scored[1:]
            else:
                self._engine.clear()
                new, pending, scored = [*before, *tokens], [*self.head, *before], list(tokens)
            if scored:
                nll = self._engine.score(pending, scored)
                self._decoded = len(self.text) + len(new) - 1  # the last token is not decoded yet
            else:
                nll = []
            self.text.extend(new)
        return nll

    def captured(self, tokens: range) -> Captured | None:
        """What the engine computed of the tokens that predict ``tokens`` of the text.

        None if it keeps nothing, or if these tokens are not all in its cache.
        """
        first = self._engine.n_past - self._decoded  # where the text's first token would be
        begin, end = (first + index - 1 for index in (tokens.start, tokens.stop))
        n_head = len(self.head) if tokens.start > 0 else 0
        if begin < max(n_head, self._apart) or tokens.stop - 1 > self._decoded:
            return None
        return self._engine.captured(begin, end)

    def pop_seconds(self) -> float:
        """Seconds that steps took since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _pending(self) -> list[int]:
        """Tokens to decode next: the head if the cache is empty, and the text not decoded yet."""
        head = [] if self._engine.n_past else self.head
        return head + self.text[self._decoded :]

    def _refill(self, start: int) -> None:
        """Empty the cache; the pending text then begins at ``start``."""
        self._engine.clear()
        self._decoded, self._apart = start, 0

    def _refill_last(self) -> None:
        self._refill(windows.last_prefix(self.options, len(self.head), len(self.text)).start)

    @contextmanager
    def _step(self) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        except BaseException:
            self._refill_last()
            raise
        finally:
            self._seconds += time.perf_counter() - begun
