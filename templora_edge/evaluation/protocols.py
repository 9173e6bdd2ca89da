"""Scoring protocols: which tokens of a text are scored, and their context."""

from collections.abc import Iterator, Sequence

from templora_edge import windows
from templora_edge.events import BlockReport, ScoredBlock
from templora_edge.options import BlockOptions, ScoringProtocol
from templora_edge.session import TempLora


def scored_blocks(
    session: TempLora, tokens: Sequence[int], protocol: ScoringProtocol
) -> Iterator[ScoredBlock]:
    """Score ``tokens`` with ``session``, block by block."""
    match protocol:
        case ScoringProtocol.STREAM:
            events = session.stream_score(tokens)
        case ScoringProtocol.LLAMA_PERPLEXITY:
            events = _llama_perplexity(session, tokens)
    return (event for event in events if isinstance(event, ScoredBlock))


def block_sizes(
    n_tokens: int, n_head: int, options: BlockOptions, protocol: ScoringProtocol
) -> list[int]:
    """Number of tokens of each block that `scored_blocks` scores.

    Args:
        n_tokens: length of the text, without BOS.
        n_head: number of tokens that precede the text: 1 with BOS, otherwise 0.
        options: lengths, resolved.
        protocol: which tokens are scored.
    """
    match protocol:
        case ScoringProtocol.STREAM:
            parts = windows.cut(0, n_tokens, options.block_len)
            return [len(part) if part.start or n_head else len(part) - 1 for part in parts]
        case ScoringProtocol.LLAMA_PERPLEXITY:
            n_ctx = options.n_ctx
            return [n_ctx - _middle(n_ctx)] * ((n_head + n_tokens) // n_ctx)


def _middle(n_ctx: int) -> int:
    """Index in a window of the first token that llama-perplexity scores."""
    return n_ctx // 2 + 1


def _llama_perplexity(
    session: TempLora, tokens: Sequence[int]
) -> Iterator[ScoredBlock | BlockReport]:
    """Score the second half of each window, as llama.cpp's llama-perplexity does.

    Every window of n_ctx tokens starts with an empty cache, its first token replaced with BOS if
    the model uses it; an incomplete window at the end is left out. With Temp-LoRA, each window is
    learned before the next one.
    """
    head, n_ctx = session.engine.model.vocab.head, session.options.blocks.n_ctx
    tokens = [*head, *tokens]
    for window in windows.cut(0, len(tokens) - len(tokens) % n_ctx, n_ctx):
        middle = window.start + _middle(n_ctx)
        before = tokens[window.start + len(head) : middle]  # BOS takes the first one's place
        yield from session.score_block(tokens[middle : window.stop], before)
