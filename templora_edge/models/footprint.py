"""Memory that training takes, estimated from a base's metadata. Pure arithmetic, in bytes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from templora_edge.models.families import (
    FUSED_QKV,
    adapted_modules,
    common_config,
    family_of,
    tensor_of,
)
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import LoraOptions

OVERHEAD: Final = 450 << 20
"""torch, transformers and peft, loaded."""
FRAGMENTATION: Final = 1.3
"""Memory over what is in use when all activations are kept: measured at the 1B shape."""
BYTES_PER_ADAPTER_PARAMETER: Final = 16
"""fp32 weight, gradient and AdamW's two moments."""
FILE_OVERHEAD: Final = 1 << 20
"""Metadata and padding of an adapter's file, at most."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Private memory of the training process; the base's pages are shared and not in it."""

    adapter_parameters: int
    scratch: int
    """Dequantized weights, those of fixed adapters included, and the gradient that a slice of
    logits has at the same time."""
    activations: int
    """Kept for backward if no layer is recomputed."""
    activations_checkpointed: int
    """Kept if every layer is recomputed in backward."""

    @property
    def fixed(self) -> int:
        """What is there whatever is kept for backward."""
        return OVERHEAD + BYTES_PER_ADAPTER_PARAMETER * self.adapter_parameters + self.scratch

    def total(self, *, checkpointing: bool) -> int:
        """Estimated private peak."""
        if checkpointing:
            return self.fixed + self.activations_checkpointed
        return self.fixed + round(FRAGMENTATION * self.activations)


def largest_layer(base: GgufFile) -> int:
    """Weights of the largest matrix of a decoder layer: the size of a scratch buffer."""
    return max(int(t.n_elements) for t in base.tensors.values() if t.name.startswith("blk."))


def adapter_parameters(base: GgufFile, lora: LoraOptions) -> int:
    """Weights of the adapter."""
    return sum(lora.rank * (n_in + n_out) for n_in, n_out, _ in _matrices(base, lora))


def adapter_file_bytes(base: GgufFile, lora: LoraOptions) -> int:
    """Size of the adapter as a GGUF file in float32, at most."""
    # a joint adapter has zeros beside the values of each part: see models/adapter_layout
    values = sum(
        lora.rank * (n_in + n_out * n_joined) for n_in, n_out, n_joined in _matrices(base, lora)
    )
    return 4 * values + FILE_OVERHEAD


def _matrices(base: GgufFile, lora: LoraOptions) -> Iterator[tuple[int, int, int]]:
    """(inputs, outputs, layers that a file joins in one tensor) of each layer that is adapted."""
    for module in adapted_modules(base, lora):
        name, rows = tensor_of(base, module)
        n_in, n_out = (int(n) for n in base.tensor(f"{name}.weight").shape)
        yield n_in, len(range(n_out)[rows]), 1 if rows == slice(None) else len(FUSED_QKV)


def estimate(
    base: GgufFile,
    lora: LoraOptions,
    *,
    n_tokens: int,
    value_bytes: int,
    fixed_parameters: int = 0,
) -> Footprint:
    """Footprint of updates of ``n_tokens`` (train prefix and block) with values of that size.

    Args:
        fixed_parameters: weights of the adapters under the one that is trained.
    """
    settings = common_config(base)
    modules = adapted_modules(base, lora)
    width, feed_forward = settings["hidden_size"], settings["intermediate_size"]
    heads = settings["num_attention_heads"]
    # nothing of the layers below the first that carries the adapter is needed again
    kept = settings["num_hidden_layers"] - min(int(name.split(".")[2]) for name in modules)
    queries = heads * settings["head_dim"]
    keys = settings["num_key_value_heads"] * settings["head_dim"]
    linear = len({name.split(".", 3)[-1] for name in modules})
    # fp32 residuals and norms; per linear layer PEFT keeps its dropped-out input, the mask and A's
    # output; attention keeps queries, keys, values and their rotations; the MLP its three products
    per_token = (
        4 * 8 * width
        + (value_bytes + 1) * (4 * width + queries + feed_forward * 2)
        + linear * lora.rank * value_bytes * 2
        + (value_bytes + 4) * 2 * (queries + 2 * keys)
        + value_bytes * 6 * feed_forward
    )
    layer = n_tokens * per_token
    if family_of(base).attention == "eager":
        layer += 3 * 4 * heads * n_tokens**2
    largest = largest_layer(base)
    slice_rows = min(settings["vocab_size"], max(1, largest // width))
    head = n_tokens * (4 * 4 * slice_rows + 8 * width)
    return Footprint(
        adapter_parameters=adapter_parameters(base, lora),
        scratch=(2 * largest + fixed_parameters) * value_bytes + head,
        activations=kept * layer,
        activations_checkpointed=layer + kept * n_tokens * 4 * width,
    )
