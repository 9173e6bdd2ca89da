"""Conversion of PEFT's LoRA weights to a GGUF adapter (llama.cpp, src/llama-adapter.cpp)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np

from templora_edge.errors import AdapterError, UnsupportedModelError, listed
from templora_edge.models.families import (
    FAMILIES,
    FUSED_QKV,
    Family,
    family_of,
    fused_rows,
    rope_row_order,
    tensor_of,
)
from templora_edge.models.gguf_file import Floats, GgufFile

PEFT_NAME: Final = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<half>[AB])\.weight$")
_ARCHITECTURES: Final = {
    "mistral": "llama", "ministral3": "mistral3", "gemma3_text": "gemma3", "phi": "phi2",
}  # fmt: skip
"""transformers' model type -> llama.cpp's architecture, if they differ."""
_FUSED_PARTS: Final = ("attn_q", "attn_k", "attn_v")
"""llama.cpp's names of `FUSED_QKV`."""


@dataclass(frozen=True, slots=True)
class AdapterTarget:
    """What the conversion of an adapter needs to know about its base."""

    family: Family
    head_counts: Mapping[str, int]
    """Number of heads of each permuted layer, with the keys of `Family.permuted`."""
    shapes: Mapping[str, tuple[int, ...]] | None = None
    """(out, in) of each linear layer, to check against, by llama.cpp's name for the layer on its
    own; None if only the config is known."""
    fused_rows: tuple[slice, ...] | None = None
    """Rows of queries, keys and values in the base's `attn_qkv`; None if it has no such tensor for
    separate layers."""

    @classmethod
    def from_gguf(cls, base: GgufFile) -> "AdapterTarget":
        """The target described by a base GGUF.

        Raises:
            UnsupportedModelError: its architecture is not in the table of families.
        """
        family = family_of(base)
        shapes = {}
        for module in family.modules(int(base.require("{arch}.block_count"))):
            name, rows = tensor_of(base, module)
            n_in, n_out = (int(n) for n in base.tensor(f"{name}.weight").shape)
            shapes[f"{family.gguf_name(module)}.weight"] = (len(range(n_out)[rows]), n_in)
        fused = "blk.0.attn_qkv.weight" in base.tensors and set(FUSED_QKV) <= set(family.linear)
        return cls(
            family,
            {module: int(base.require(key)) for module, key in family.permuted.items()},
            shapes,
            fused_rows(base) if fused else None,
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any], source: Path) -> "AdapterTarget":
        """The target described by a transformers config.json, read from ``source``.

        Raises:
            UnsupportedModelError: its model type is not in the table of families.
        """
        model_type = str(config.get("model_type"))
        architecture = _ARCHITECTURES.get(model_type, model_type)
        if architecture not in FAMILIES:
            raise UnsupportedModelError(
                f"{source}: model type {model_type!r}; supported architectures: "
                f"{', '.join(FAMILIES)}"
            )
        family = FAMILIES[architecture]
        heads = config.get("num_attention_heads", 0)
        counts = {"head_count": heads, "head_count_kv": config.get("num_key_value_heads", heads)}
        return cls(
            family,
            {m: int(counts[key.rpartition(".")[2]]) for m, key in family.permuted.items()},
        )


def peft_name(module: str, half: str) -> str:
    """PEFT's name of the matrix ``half``, A or B, of transformers' module ``module``."""
    return f"base_model.model.{module}.lora_{half}.weight"


def gguf_tensors(weights: Mapping[str, Floats], target: AdapterTarget) -> dict[str, Floats]:
    """Rename and reorder PEFT weights to llama.cpp's layout.

    Args:
        weights: PEFT name -> (r, in) for lora_A, (out, r) for lora_B.
        target: the base that the adapter belongs to.

    Returns:
        `<base tensor>.lora_a` (r, in) and `<base tensor>.lora_b` (out, r).

    Raises:
        AdapterError: weights do not fit the base; it lists them.
    """
    pairs: dict[str, dict[str, Floats]] = {}
    problems: list[str] = []
    for name, value in weights.items():
        match = PEFT_NAME.match(name)
        base_name = target.family.gguf_name(match["module"]) if match else None
        if match is None or base_name is None:
            problems.append(f"{name}: not a LoRA matrix of a {target.family.architecture} layer")
        elif not base_name.startswith("blk."):
            problems.append(f"{name}: llama.cpp takes adapters on decoder layers only")
        else:
            heads = target.head_counts.get(match["module"].split(".", 3)[-1])
            reorder = heads is not None and match["half"] == "B"
            order = rope_row_order(value.shape[0], heads or 1) if reorder else slice(None)
            pairs.setdefault(base_name, {})[match["half"].lower()] = value[order]
    for name, pair in pairs.items():
        for half in {"a", "b"} - pair.keys():
            problems.append(f"{name}.weight.lora_{half} is missing")
    pairs = {name: pair for name, pair in pairs.items() if len(pair) == 2}
    for name, pair in pairs.items():
        found = (pair["b"].shape[0], pair["a"].shape[1])
        if target.shapes is not None and found != (shape := target.shapes.get(f"{name}.weight")):
            problems.append(f"{name}: adapter for shape {found}, base tensor is {shape}")
    if problems:
        raise AdapterError(f"adapter does not fit the base: {listed(problems, '; ')}")
    if not pairs:
        raise AdapterError("adapter holds no LoRA matrices")
    if target.fused_rows is not None:
        pairs = _fuse(pairs, target.fused_rows)
    return {
        f"{name}.weight.lora_{half}": pair[half] for name, pair in pairs.items() for half in "ab"
    }


def _fuse(
    pairs: dict[str, dict[str, Floats]], rows: tuple[slice, ...]
) -> dict[str, dict[str, Floats]]:
    """Join the adapters of queries, keys and values into one of the base's `attn_qkv`.

    The joint adapter has the sum of their ranks, three times one rank. Its A stacks the three A
    matrices, its B has the three B matrices on the block diagonal, with zeros for a missing one.
    llama.cpp divides alpha by the joint rank, so B is scaled up to make up for that.
    """
    joined: dict[str, dict[str, Floats]] = {}
    for name, pair in pairs.items():
        layer, _, part = name.rpartition(".")
        fused = f"{layer}.attn_qkv"
        if part not in _FUSED_PARTS:
            joined[name] = pair
        elif fused not in joined:
            nothing = {"a": np.zeros_like(pair["a"]), "b": np.zeros_like(pair["b"][:0])}
            halves = [pairs.get(f"{layer}.{other}", nothing) for other in _FUSED_PARTS]
            a = np.concatenate([half["a"] for half in halves])
            b = np.zeros((rows[-1].stop, len(a)), np.float32)
            column = 0
            for half, some in zip(halves, rows, strict=True):
                n_rows, rank = half["b"].shape
                part_of_b = b[some.start : some.start + n_rows, column : column + rank]
                part_of_b[:] = half["b"] * np.float32(len(a) / rank)
                column += rank
            joined[fused] = {"a": a, "b": b}
    return joined


def write_adapter(
    path: Path, weights: Mapping[str, Floats], alpha: float, target: AdapterTarget
) -> None:
    """Write PEFT ``weights`` as the GGUF adapter ``path``, in float32.

    Args:
        path: file to write.
        weights: PEFT name -> matrix, as in `gguf_tensors`.
        alpha: LoRA alpha; llama.cpp scales the adapter's output by alpha / rank.
        target: the base that the adapter belongs to.

    Raises:
        AdapterError: weights do not fit the base.
    """
    tensors = gguf_tensors(weights, target)
    writer = gguf.GGUFWriter(path, target.family.architecture)
    try:
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
        for name, value in tensors.items():
            writer.add_tensor(name, np.ascontiguousarray(value, dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
