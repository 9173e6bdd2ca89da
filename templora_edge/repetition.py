"""Repetition in a text, by n-grams that occurred before."""

from collections.abc import Hashable, Sequence
from typing import Final

LOOP_SHARE: Final = 0.4
"""Share of repeated tokens from which a block loops: twice what a block of prose reaches, and less
than any block after a loop's beginning (docs/log.md)."""
LOOK_BACK: Final = 1024
"""Tokens before a block that are searched for what it repeats."""


def repeated(items: Sequence[Hashable], n: int = 8) -> list[bool]:
    """Whether each item lies in an n-gram that occurred earlier in ``items``."""
    flags, seen = [False] * len(items), set[tuple[Hashable, ...]]()
    for begin, gram in enumerate(zip(*(items[shift:] for shift in range(n)), strict=False)):
        if gram in seen:
            flags[begin : begin + n] = [True] * n
        else:
            seen.add(gram)
    return flags


def repeated_share(block: Sequence[int], before: Sequence[int], n: int = 8) -> float:
    """Share of the block's tokens in n-grams that occurred earlier, in ``before`` or the block.

    An n-gram that begins in ``before`` and ends in the block counts too. An empty block has 0.
    """
    flags = repeated([*before, *block], n)[len(before) :]
    return sum(flags) / max(1, len(flags))


def loops(text: Sequence[int], block: range) -> bool:
    """Whether ``block`` of ``text`` repeats itself, or the text before it, more than prose does."""
    before = text[max(0, block.start - LOOK_BACK) : block.start]
    return repeated_share(text[block.start : block.stop], before) >= LOOP_SHARE
