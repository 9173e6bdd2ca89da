"""Arithmetic of blocks and windows. Positions are token indices into the whole text."""

from collections.abc import Iterator
from dataclasses import dataclass

from templora_edge.options import BlockOptions, KvPolicy


def cut(start: int, stop: int, block_len: int) -> Iterator[range]:
    """Cut ``[start, stop)`` into consecutive blocks of ``block_len``; the last may be shorter."""
    for begin in range(start, stop, block_len):
        yield range(begin, min(begin + block_len, stop))


def train_prefix(block: range, train_prefix_len: int) -> range:
    """The (at most) ``train_prefix_len`` tokens before ``block`` that its update conditions on."""
    return range(max(0, block.start - train_prefix_len), block.start)


@dataclass(frozen=True, slots=True)
class Keep:
    """Leave the cache: the next block fits."""


@dataclass(frozen=True, slots=True)
class Refill:
    """Empty the cache and decode the text again from ``start``."""

    start: int


@dataclass(frozen=True, slots=True)
class Shift:
    """Drop the ``discard`` tokens after the first ``keep`` and move the later ones down."""

    keep: int
    discard: int


KvPlan = Keep | Refill | Shift


def last_prefix(options: BlockOptions, n_head: int, text_len: int) -> Refill:
    """The plan to decode L_X tokens again: the head of ``n_head`` tokens and the text's end."""
    return Refill(max(0, text_len - (options.prefix_len - n_head)))


def plan_kv(
    options: BlockOptions, *, n_head: int, cached: int, pending: int, text_len: int, swapped: bool
) -> KvPlan:
    """Decide what to do with the cache before the next block.

    Args:
        options: lengths and KV policy, resolved.
        n_head: number of tokens at the head of the cache that are not text (BOS and notes); never
            dropped.
        cached: number of tokens in the cache, including the head.
        pending: number of tokens to decode before the block, including the head if the cache is
            empty.
        text_len: length of the text so far, in tokens.
        swapped: whether the adapter changed since the cache was filled.
    """
    room = options.n_ctx - options.block_len
    needed = cached + pending
    if needed > room:
        if options.kv_policy is not KvPolicy.SHIFT:
            return last_prefix(options, n_head, text_len)
        keep = max(options.n_keep, n_head)
        movable = cached - keep
        discard = max(movable // 2, needed - room)
        if 0 < discard < movable:
            return Shift(keep, discard)
        return last_prefix(options, n_head, text_len)
    if swapped and cached and options.kv_policy is KvPolicy.RECOMPUTE:
        return Refill(text_len - (needed - n_head))
    return Keep()
