"""PEFT LoRA weights to a llama.cpp GGUF adapter (layout: llama.cpp, src/llama-adapter.cpp)."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np

from converters.checkpoint import Floats, read_json, read_tensors
from converters.families import FAMILIES, Family, family_of, rope_row_order
from templora_edge.errors import AdapterError, UnsupportedModelError
from templora_edge.files import replacing
from templora_edge.gguf_base import GgufBase

PEFT_NAME: Final = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<half>[AB])\.weight$")
_ARCHITECTURES: Final = {
    "mistral": "llama", "ministral3": "mistral3", "gemma3_text": "gemma3", "phi": "phi2",
}  # fmt: skip
"""transformers' model type -> llama.cpp's architecture, where they differ."""
_UNSUPPORTED_SETTINGS: Final = ("use_dora", "modules_to_save", "alpha_pattern", "rank_pattern")


@dataclass(frozen=True, slots=True)
class AdapterTarget:
    """What the converter must know of the base an adapter belongs to."""

    family: Family
    head_counts: Mapping[str, int]
    """Heads per permuted layer, keyed as `Family.permuted`."""
    shapes: Mapping[str, tuple[int, ...]] | None = None
    """(out, in) per base tensor, to check against; None if only the config is known."""

    @classmethod
    def from_gguf(cls, base: GgufBase) -> "AdapterTarget":
        """The target that a base GGUF describes.

        Raises:
            UnsupportedModelError: its architecture is not in the table.
        """
        family = family_of(base)
        return cls(
            family,
            {module: int(base.require(key)) for module, key in family.permuted.items()},
            {
                name: tuple(int(n) for n in reversed(t.shape.tolist()))
                for name, t in base.tensors.items()
            },
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any], source: Path) -> "AdapterTarget":
        """The target that a transformers config.json describes.

        Raises:
            UnsupportedModelError: its model type is not in the table.
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


def gguf_tensors(weights: Mapping[str, Floats], target: AdapterTarget) -> dict[str, Floats]:
    """Rename and reorder PEFT weights to llama.cpp's layout.

    Args:
        weights: PEFT name -> (r, in) for lora_A, (out, r) for lora_B.

    Returns:
        `<base tensor>.lora_a` (r, in) and `<base tensor>.lora_b` (out, r).

    Raises:
        AdapterError: names every weight that does not belong, at once.
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
    if target.shapes is not None:
        pairs = _fuse(pairs, target.shapes)
        for name, pair in pairs.items():
            shape = target.shapes.get(f"{name}.weight")
            found = (pair["b"].shape[0], pair["a"].shape[1])
            if found != shape:
                problems.append(f"{name}: adapter for shape {found}, base tensor is {shape}")
    if problems:
        raise AdapterError("adapter does not fit the base: " + "; ".join(problems))
    if not pairs:
        raise AdapterError("adapter holds no LoRA matrices")
    return {
        f"{name}.weight.lora_{half}": pair[half] for name, pair in pairs.items() for half in "ab"
    }


def _fuse(
    pairs: dict[str, dict[str, Floats]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, dict[str, Floats]]:
    """Join the adapters of queries, keys and values where the base has one `attn_qkv` for them.

    The joint adapter has three times the rank: A is the three A on top of each other, B the three
    B on a diagonal. llama.cpp divides alpha by the rank it sees, so B is tripled.
    """
    joined: dict[str, dict[str, Floats]] = {}
    for name, pair in pairs.items():
        layer = name.rpartition(".")[0]
        parts = [f"{layer}.{part}" for part in ("attn_q", "attn_k", "attn_v")]
        fused = f"{layer}.attn_qkv"
        if name not in parts or f"{name}.weight" in shapes or f"{fused}.weight" not in shapes:
            joined[name] = pair
        elif fused not in joined and all(part in pairs for part in parts):
            halves = [pairs[part] for part in parts]
            b = np.zeros(
                (sum(h["b"].shape[0] for h in halves), sum(h["b"].shape[1] for h in halves)),
                np.float32,
            )
            row = column = 0
            for half in halves:
                n_rows, rank = half["b"].shape
                b[row : row + n_rows, column : column + rank] = half["b"] * len(parts)
                row, column = row + n_rows, column + rank
            joined[fused] = {"a": np.concatenate([h["a"] for h in halves]), "b": b}
    return joined


def write_adapter(
    path: Path, weights: Mapping[str, Floats], alpha: float, target: AdapterTarget
) -> None:
    """Write PEFT ``weights`` as the GGUF adapter ``path``, in float32.

    Args:
        alpha: llama.cpp scales the adapter's output by alpha / rank.

    Raises:
        AdapterError: weights that do not fit the base.
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


def convert(peft_dir: Path, out: Path, base: Path | None = None) -> None:
    """Convert a saved PEFT adapter.

    Args:
        peft_dir: folder with adapter_config.json and adapter_model.safetensors.
        base: GGUF the adapter is for; default: the local checkpoint named in the config.

    Raises:
        AdapterError: the folder is not a LoRA adapter that llama.cpp can apply.
        CheckpointError: its files cannot be read.
        OutputError: ``out`` could not be written.
    """
    config = read_json(peft_dir / "adapter_config.json", "a PEFT adapter folder")
    if config.get("peft_type") != "LORA":
        raise AdapterError(f"{peft_dir}: peft_type is {config.get('peft_type')!r}; expected 'LORA'")
    refused = [key for key in _UNSUPPORTED_SETTINGS if config.get(key)]
    if refused or config.get("bias", "none") != "none":
        raise AdapterError(
            f"{peft_dir}: llama.cpp cannot apply {', '.join(refused) or 'trained biases'}; "
            "train a plain LoRA"
        )
    target = _target(base, config, peft_dir)
    tensors = read_tensors(peft_dir / "adapter_model.safetensors")
    weights = {name: read() for name, read in tensors.items()}
    rank = int(config["r"])
    alpha = float(config["lora_alpha"])
    if config.get("use_rslora"):  # scaled by alpha / sqrt(rank), arXiv 2312.03732
        alpha *= math.sqrt(rank)
    with replacing(out, "OUT.gguf") as temporary:
        write_adapter(temporary, weights, alpha, target)


def named_base(peft_dir: Path) -> Path | None:
    """The base that an adapter's config names: a file, a folder, or a name on a hub.

    Raises:
        CheckpointError: the config cannot be read.
    """
    config = read_json(peft_dir / "adapter_config.json", "a PEFT adapter folder")
    named = config.get("base_model_name_or_path")
    return Path(str(named)) if named else None


def _target(base: Path | None, config: Mapping[str, Any], peft_dir: Path) -> AdapterTarget:
    if base is not None:
        return AdapterTarget.from_gguf(GgufBase(base))
    named = config.get("base_model_name_or_path")
    source = Path(named) if named else None
    if source is not None and source.is_file():
        return AdapterTarget.from_gguf(GgufBase(source))
    if source is not None and (source / "config.json").is_file():
        return AdapterTarget.from_config(
            read_json(source / "config.json", "a checkpoint folder"), source
        )
    raise AdapterError(
        f"{peft_dir}: its base {named!r} is not a local checkpoint; name the base GGUF with -m "
        f"(architectures: {', '.join(FAMILIES)})"
    )
