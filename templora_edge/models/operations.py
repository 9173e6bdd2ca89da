"""Floating-point operations of the algorithm, counted from shapes; a multiply-add is two."""

from dataclasses import dataclass

from templora_edge.models.families import common_config
from templora_edge.models.footprint import adapter_parameters
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import Capture, LoraOptions


@dataclass(frozen=True, slots=True)
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
        return (
            2 * n * (self.linear + extra) + 2 * heads * self.head + self.attention * _pairs(n, past)
        )


def update_operations(
    base: GgufFile, lora: LoraOptions, *, prefix: int, block: int, capture: Capture | None
) -> int:
    """Operations of an update, without those of layers that are recomputed to save memory.

    Unless the prefix has a gradient, its keys and values are there from earlier updates. Backward
    runs through the layers from the first that carries the adapter: as many operations as forward
    with respect to activations, twice as many for attention, both of whose factors have gradients,
    and as many again for the adapter's own weights. Of the first of these layers, a part needs
    none; it is counted all the same.

    Args:
        base: the model.
        lora: resolved options of the adapter.
        prefix: tokens before the block, BOS among them, without loss.
        block: tokens that are learned.
        capture: what is taken over from llama.cpp; None: it has not decoded the block. Of
            the output layer, the rows of its predictions are few, and are not counted.
    """
    shape, adapter = Shape.of(base), adapter_parameters(base, lora)
    n_layers = int(base.require("{arch}.block_count"))
    share = (n_layers - lora.first_layer(n_layers)) / n_layers
    n, past = (prefix + block, 0) if lora.prefix_gradient else (block, prefix)
    layers = 2 * n * shape.linear
    attention = shape.attention * _pairs(n, past)
    computed = 1 if capture is None else share
    forward = lora.epochs * (computed * (layers + attention) + 2 * n * adapter)
    if capture is not None and capture.products:  # those of the first epoch
        forward -= share * layers
    backward = share * (layers + 2 * attention) + 4 * n * adapter
    head = 0 if capture is not None and capture.predictions else 4 * block * shape.head
    return round(forward + lora.epochs * (backward + head))


def _pairs(n: int, past: int) -> int:
    """Pairs of a query and a key that it attends to, of ``n`` tokens after ``past`` cached ones."""
    return n * past + n * (n + 1) // 2
