"""Estimates of the memory that training needs, in bytes, from a base's metadata."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from templora_edge.errors import InsufficientMemoryError
from templora_edge.host import memory
from templora_edge.models.families import (
    FUSED_QKV,
    adapted_modules,
    common_config,
    tensor_of,
)
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import LoraOptions

OVERHEAD: Final = 450 << 20
"""Memory of torch, transformers and peft once loaded."""
FRAGMENTATION: Final = 1.3
"""Ratio of memory taken to memory in use, if all activations are kept; measured at 1B."""
BYTES_PER_ADAPTER_PARAMETER: Final = 16
"""fp32 weight, gradient and AdamW's two moments."""
MOST_DENSE: Final = 256 << 20
"""Size of dequantized weights that are kept at most: those of small bases alone, whose time would
be dequantization for a fifth."""
FILE_OVERHEAD: Final = 1 << 20
"""Upper bound on metadata and padding in an adapter's file."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Private memory of the training process, without the base's pages, which are shared."""

    adapter_parameters: int
    """Number of weights in the adapter."""
    scratch: int
    """Dequantized weights, fixed adapters, and a slice of logits with its gradient."""
    activations: int
    """Activations kept for backward if no layer is recomputed."""
    activations_checkpointed: int
    """Activations kept for backward if every layer is recomputed."""
    dense: int
    """Dequantized weights of the layers from the first that carries the adapter, if kept."""

    @property
    def fixed(self) -> int:
        """Memory that does not depend on what is kept for backward."""
        return OVERHEAD + BYTES_PER_ADAPTER_PARAMETER * self.adapter_parameters + self.scratch

    def total(self, *, checkpointing: bool) -> int:
        """Estimated peak of private memory."""
        if checkpointing:
            return self.fixed + self.activations_checkpointed
        return self.fixed + round(FRAGMENTATION * self.activations)


def largest_layer(base: GgufFile) -> int:
    """Number of weights in the largest matrix of a decoder layer: the size of a scratch buffer."""
    return max(int(t.n_elements) for t in base.tensors.values() if t.name.startswith("blk."))


def _layer_parameters(base: GgufFile) -> int:
    """Number of weights in one decoder layer."""
    return sum(int(t.n_elements) for t in base.tensors.values() if t.name.startswith("blk.0."))


def adapter_parameters(base: GgufFile, lora: LoraOptions) -> int:
    """Number of weights in the adapter."""
    return sum(lora.rank * (n_in + n_out) for n_in, n_out, _ in _matrices(base, lora))


def adapter_file_bytes(base: GgufFile, lora: LoraOptions) -> int:
    """Upper bound on the size of the adapter as a GGUF file in float32."""
    # a joint adapter has zeros beside the values of each part, see models/adapter_layout
    values = sum(
        lora.rank * (n_in + n_out * n_joined) for n_in, n_out, n_joined in _matrices(base, lora)
    )
    return 4 * values + FILE_OVERHEAD


def _matrices(base: GgufFile, lora: LoraOptions) -> Iterator[tuple[int, int, int]]:
    """(inputs, outputs, number of layers joined in the file's tensor) of each adapted layer."""
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
    """Estimate the footprint of updates.

    Args:
        base: the model.
        lora: resolved options of the adapter.
        n_tokens: tokens in an update whose activations are kept, see `Options.update_len`.
        value_bytes: bytes per value of the compute dtype.
        fixed_parameters: number of weights in the fixed adapters.
    """
    settings = common_config(base)
    modules = adapted_modules(base, lora)
    width, feed_forward = settings["hidden_size"], settings["intermediate_size"]
    heads = settings["num_attention_heads"]
    # backward needs nothing from layers below the first one that carries the adapter
    n_layers = settings["num_hidden_layers"]
    kept = n_layers - lora.first_layer(n_layers)
    queries = heads * settings["head_dim"]
    keys = settings["num_key_value_heads"] * settings["head_dim"]
    linear = len({name.split(".", 3)[-1] for name in modules})
    # fp32 residuals and norms; for each linear layer PEFT keeps its input after dropout, the mask
    # and A's output; attention keeps queries, keys, values and rotations; the MLP three products
    per_token = (
        4 * 8 * width
        + (value_bytes + 1) * (4 * width + queries + feed_forward * 2)
        + linear * lora.rank * value_bytes * 2
        + (value_bytes + 4) * 2 * (queries + 2 * keys)
        + value_bytes * 6 * feed_forward
    )
    products = 2 * (queries + 2 * keys + 2 * width + 2 * feed_forward)  # taken over, in bf16
    layer = n_tokens * (per_token + products)
    largest = largest_layer(base)
    slice_rows = min(settings["vocab_size"], max(1, largest // width))
    head = n_tokens * (4 * 4 * slice_rows + 8 * width)
    return Footprint(
        adapter_parameters=adapter_parameters(base, lora),
        scratch=(2 * largest + fixed_parameters) * value_bytes + head,
        activations=kept * layer,
        activations_checkpointed=layer + kept * n_tokens * (4 * width + products),
        dense=value_bytes * kept * _layer_parameters(base),
    )


def must_checkpoint(
    footprint: Footprint, allowed_gib: float | None, free: int | None = None
) -> bool:
    """Whether layers must be recomputed in backward for training to fit in memory.

    Args:
        footprint: what training needs.
        allowed_gib: memory that it may take, in GiB; None is all that is free.
        free: memory that is free on the device that trains, in bytes, besides that of the base's
            weights; None: training is in the host's memory.

    Raises:
        InsufficientMemoryError: training does not fit even then.
    """
    budget = _budget(allowed_gib, free)
    if footprint.total(checkpointing=False) <= budget:
        return False
    least = footprint.total(checkpointing=True)
    if least <= budget:
        return True
    raise InsufficientMemoryError(
        f"training needs about {least / 2**30:.1f} GiB in addition to the model, but only "
        f"{budget / 2**30:.1f} GiB may be used; lower --rank, --block or --train-prefix"
        + (", or raise --train-memory" if allowed_gib else "")
        + (", or use --train-device cpu" if free is not None else "")
    )


def keeps_dense(footprint: Footprint, allowed_gib: float | None) -> bool:
    """Whether the dequantized weights of layers with an adapter are few enough to be kept.

    Args:
        footprint: what training needs.
        allowed_gib: memory that it may take, in GiB; None is all that is free.
    """
    total = footprint.total(checkpointing=False) + footprint.dense
    return footprint.dense <= MOST_DENSE and total <= _budget(allowed_gib)


def _budget(allowed_gib: float | None, free: int | None = None) -> int:
    if allowed_gib is not None:
        return int(allowed_gib * 2**30)
    return memory.available() if free is None else max(0, free)
