"""Memory that training takes, estimated from a base's metadata. Pure arithmetic, in bytes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from converters.families import common_config, family_of
from templora_edge.config import Targets
from templora_edge.gguf_base import GgufBase

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
    """Dequantized weights, and the gradient that a slice of logits has at the same time."""
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


def largest_layer(base: GgufBase) -> int:
    """Weights of the largest matrix of a decoder layer: the size of a scratch buffer."""
    return max(int(t.n_elements) for t in base.tensors.values() if t.name.startswith("blk."))


def adapter_parameters(
    base: GgufBase, rank: int, targets: Targets = Targets.ALL, layers: int | None = None
) -> int:
    """Weights of an adapter of ``rank`` on the linear layers among ``targets``.

    Args:
        layers: that carry it, the last ones; None is all.
    """
    return sum(
        rank * (n_out + n_in * n_joined)
        for n_in, n_out, n_joined in _adapted(base, targets, layers)
    )


def adapter_file_bytes(
    base: GgufBase, rank: int, targets: Targets = Targets.ALL, layers: int | None = None
) -> int:
    """Size of such an adapter as a GGUF file in float32, at most."""
    values = sum(
        rank * n_joined * (n_in + n_out)  # a joint adapter has zeros: see converters/peft_to_gguf
        for n_in, n_out, n_joined in _adapted(base, targets, layers)
    )
    return 4 * values + FILE_OVERHEAD


def _adapted(
    base: GgufBase, targets: Targets, layers: int | None
) -> Iterator[tuple[int, int, int]]:
    """(inputs, outputs, layers of transformers that it joins) of each matrix of the last layers."""
    first = 0 if layers is None else _n_layers(base) - layers
    part = {Targets.ALL: "", Targets.MLP: ".ffn_", Targets.ATTENTION: ".attn_"}[targets]
    fused = 3 if "blk.0.attn_qkv.weight" in base.tensors and _splits_qkv(base) else 1
    for t in base.tensors.values():
        if not t.name.startswith("blk.") or len(t.shape) != 2 or part not in t.name:
            continue
        if int(t.name.split(".")[1]) >= first:
            yield int(t.shape[0]), int(t.shape[1]), fused if "attn_qkv" in t.name else 1


def _n_layers(base: GgufBase) -> int:
    return int(base.require("{arch}.block_count"))


def _splits_qkv(base: GgufBase) -> bool:
    return "self_attn.q_proj" in family_of(base).linear


def estimate(
    base: GgufBase,
    *,
    rank: int,
    n_tokens: int,
    value_bytes: int,
    targets: Targets = Targets.ALL,
    layers: int | None = None,
) -> Footprint:
    """Footprint of updates of ``n_tokens`` (train prefix and block) with values of that size."""
    settings = common_config(base)
    width, feed_forward = settings["hidden_size"], settings["intermediate_size"]
    heads = settings["num_attention_heads"]
    kept = min(layers or _n_layers(base), _n_layers(base))  # nothing of those below is needed again
    queries = heads * settings["head_dim"]
    keys = settings["num_key_value_heads"] * settings["head_dim"]
    linear = len(family_of(base).targets(targets))
    # fp32 residuals and norms; per linear layer PEFT keeps its dropped-out input, the mask and A's
    # output; attention keeps queries, keys, values and their rotations; the MLP its three products
    per_token = (
        4 * 8 * width
        + (value_bytes + 1) * (4 * width + queries + feed_forward * 2)
        + linear * rank * value_bytes * 2
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
        adapter_parameters=adapter_parameters(base, rank, targets, layers),
        scratch=2 * largest * value_bytes + head,
        activations=kept * layer,
        activations_checkpointed=layer + kept * n_tokens * 4 * width,
    )
