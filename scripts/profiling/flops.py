"""Operations needed to score a text, counted from shapes (a multiply-add is two), and KV memory."""

from collections.abc import Iterator
from typing import Any

from templora_edge import windows
from templora_edge.models.families import common_config
from templora_edge.models.footprint import adapter_parameters
from templora_edge.models.gguf_file import GgufFile
from templora_edge.models.operations import Shape, update_operations
from templora_edge.options import BlockOptions, Options


def decoded(options: BlockOptions, n_tokens: int) -> Iterator[tuple[int, int]]:
    """Passes of the engine that score ``n_tokens``: (tokens, cached tokens before them) each."""
    cached = text_len = seen = 0
    for block in windows.cut(0, n_tokens, options.block_len):
        plan = windows.plan_kv(
            options,
            n_head=0,  # BOS, one token per window, does not matter
            cached=cached,
            pending=text_len - seen,
            text_len=text_len,
            swapped=block.start > 0,
        )
        match plan:
            case windows.Refill(start):
                cached, seen = 0, start
            case windows.Shift(_, discard):
                cached -= discard
        text_len += len(block)
        new = text_len - 1 - seen  # the last token of a block is decoded with the next one
        yield new, cached
        cached, seen = cached + new, seen + new


def kv_bytes(base: GgufFile, n_ctx: int) -> int:
    """Size of a KV cache in F16, in bytes."""
    settings = common_config(base)
    width = settings["num_key_value_heads"] * settings["head_dim"]
    return 2 * 2 * int(settings["num_hidden_layers"] * width) * n_ctx


def count(base: GgufFile, options: Options, tokens: int) -> dict[str, Any]:
    """Operations of scoring ``tokens``, with the base alone and with the adapter, and training.

    Args:
        base: the model.
        options: resolved options.
        tokens: number of tokens.
    """
    shape = Shape.of(base)
    lora, blocks = options.lora, options.blocks
    adapter = adapter_parameters(base, lora)
    passes = list(decoded(blocks, tokens))
    training = 0
    for block in windows.cut(0, tokens, blocks.block_len):
        prefix = len(windows.train_prefix(block, blocks.train_prefix_len))
        training += update_operations(
            base, lora, prefix=prefix, block=len(block), capture=options.engine.capture
        )
    return {
        "base": sum(shape.forward(n, past, heads=n) for n, past in passes),
        "templora": sum(shape.forward(n, past, heads=n, extra=adapter) for n, past in passes),
        "training": training,
        "adapter_parameters": adapter,
        "kv_bytes": kv_bytes(base, blocks.n_ctx),
    }
