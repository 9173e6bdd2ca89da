"""Operations needed to score a text, counted from shapes (a multiply-add is two), and KV memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from templora_edge import windows
from templora_edge.models.families import common_config
from templora_edge.models.footprint import adapter_parameters
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import BlockOptions, LoraOptions


@dataclass(frozen=True)
class Shape:
    """Sizes of a model that determine the cost of a pass over tokens."""

    linear: int
    """Number of weights in all matrices of the layers."""
    head: int
    """Number of weights in the output layer."""
    attention: int
    """Operations per pair of a query and a key, over all layers and heads."""

    @classmethod
    def of(cls, base: GgufFile) -> "Shape":
        """The shape of a base from one of the families that Temp-LoRA knows."""
        settings = common_config(base)
        linear = sum(
            int(t.n_elements)
            for t in base.tensors.values()
            if t.name.startswith("blk.") and len(t.shape) == 2
        )
        width = settings["num_attention_heads"] * settings["head_dim"]
        return cls(
            linear,
            settings["vocab_size"] * settings["hidden_size"],
            4 * settings["num_hidden_layers"] * width,
        )

    def forward(self, n: int, past: int, *, heads: int, extra: int = 0) -> int:
        """Operations of a pass over tokens.

        Args:
            n: number of tokens in the pass.
            past: number of cached tokens before them.
            heads: number of tokens whose logits are computed.
            extra: number of weights in an adapter that is not merged.
        """
        pairs = n * past + n * (n + 1) // 2
        return 2 * n * (self.linear + extra) + 2 * heads * self.head + self.attention * pairs


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


def count(base: GgufFile, options: BlockOptions, lora: LoraOptions, tokens: int) -> dict[str, Any]:
    """Operations of scoring ``tokens`` with the base alone and with the adapter, and of training.

    Training follows the algorithm: a forward pass, then backward with respect to activations (as
    much again) for the frozen matrices of the layers that carry the adapter, and twice that for the
    adapter's own matrices, which also have gradients.
    """
    n_layers = int(base.require("{arch}.block_count"))
    learning = min(1.0, (lora.layers or n_layers) / n_layers)
    shape = Shape.of(base)
    adapter = adapter_parameters(base, lora)
    passes = list(decoded(options, tokens))
    training = 0
    for block in windows.cut(0, tokens, options.block_len):
        prefix = len(windows.train_prefix(block, options.train_prefix_len))
        n, read = len(block) + prefix, 0
        if not lora.prefix_gradient:
            n, read = len(block), prefix
        reading = shape.forward(read, 0, heads=0, extra=adapter)
        forward = shape.forward(n, read, heads=len(block), extra=adapter)
        step = reading + (1 + learning) * forward + 2 * n * adapter
        training += round(lora.epochs * step)
    return {
        "base": sum(shape.forward(n, past, heads=n) for n, past in passes),
        "templora": sum(shape.forward(n, past, heads=n, extra=adapter) for n, past in passes),
        "training": training,
        "adapter_parameters": adapter,
        "kv_bytes": kv_bytes(base, options.n_ctx),
    }
