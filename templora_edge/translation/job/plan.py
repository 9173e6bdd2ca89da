"""What a translation would take, from a few tokens tried on this machine."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from templora_edge.options import SamplingOptions
from templora_edge.translation.answer_text import AnswerText
from templora_edge.translation.pair_loop import PairLoop
from templora_edge.translation.prompt import Pair
from templora_edge.updates import Updates

TRIED_SEGMENTS: Final = 2
TRIED_TOKENS: Final = 64
"""Length of the update that is tried, in tokens."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The work and time that a job would take."""

    segments: int
    tokens: int
    """Tokens in the sources of the segments."""
    updates: int
    seconds: float
    """Estimated, training included."""


def estimate(
    sources: Sequence[str], loop: PairLoop, updates: Updates, sampling: SamplingOptions
) -> Plan:
    """The plan for ``sources``; the adapter is trained to time it, and is of no use afterwards."""
    tokens = sum(map(loop.n_tokens, sources))
    # translations about as long as their sources; nothing is learned after the last block
    blocks = loop.blocks_of([Pair(source, source) for source in sources])
    n_updates = max(0, sum(1 for _ in blocks) - 1) if updates.learns(own=True) else 0
    seconds = tokens * _seconds_a_token(sources[:TRIED_SEGMENTS], loop, sampling)
    if n_updates:
        seconds += n_updates * _seconds_an_update(sources, loop, updates)
    return Plan(len(sources), tokens, n_updates, seconds)


def _seconds_a_token(sources: Sequence[str], loop: PairLoop, sampling: SamplingOptions) -> float:
    """Seconds per token of a source, including its translation."""
    begun, n_tokens = time.perf_counter(), 0
    loop.begin_block(())
    for source in sources:
        loop.ask(source, ())
        n_source = loop.n_tokens(source)
        loop.answer(sampling, n_source, AnswerText(source))
        n_tokens += n_source
    return (time.perf_counter() - begun) / max(1, n_tokens)


def _seconds_an_update(sources: Sequence[str], loop: PairLoop, updates: Updates) -> float:
    tokens = loop.tokenize(" ".join(sources[:TRIED_TOKENS]))[:TRIED_TOKENS]
    half = len(tokens) // 2
    length = loop.options.train_prefix_len + loop.options.block_len
    return updates.learn(tokens[:half], tokens[half:]).train_s * length / max(1, len(tokens))
