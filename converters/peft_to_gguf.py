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
from templora_edge.errors import AdapterError
from templora_edge.files import replacing
from templora_edge.gguf_base import GgufBase

_PEFT_NAME: Final = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<half>[AB])\.weight$")
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
        family = family_of(base.architecture, base.path)
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
        heads = int(config.get("num_attention_heads") or 0)
        counts = {"head_count": heads, "head_count_kv": config.get("num_key_value_heads", heads)}
        model_type = str(config.get("model_type"))
        # transformers' mistral is llama.cpp's llama.
        family = family_of("llama" if model_type == "mistral" else model_type, source)
        return cls(
            family,
            {m: int(counts[key.rsplit(".", 1)[-1]]) for m, key in family.permuted.items()},
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
    tensors: dict[str, Floats] = {}
    problems: list[str] = []
    for name, value in weights.items():
        match = _PEFT_NAME.match(name)
        base_name = target.family.gguf_name(match["module"]) if match else None
        if match is None or base_name is None:
            problems.append(f"{name}: not a LoRA matrix of a {target.family.architecture} layer")
            continue
        if not base_name.startswith("blk."):
            problems.append(f"{name}: llama.cpp takes adapters on decoder layers only")
            continue
        base_name += ".weight"
        suffix = match["module"].split(".", 3)[-1]
        if target.shapes is not None:
            shape = target.shapes.get(base_name)
            axis = 1 if match["half"] == "A" else 0
            if shape is None or value.shape[axis] != shape[axis]:
                problems.append(f"{name}: shape {value.shape}, base tensor {base_name} is {shape}")
                continue
        if match["half"] == "A":
            tensors[f"{base_name}.lora_a"] = value
        elif heads := target.head_counts.get(suffix):
            tensors[f"{base_name}.lora_b"] = value[rope_row_order(value.shape[0], heads)]
        else:
            tensors[f"{base_name}.lora_b"] = value
    for name in tensors:
        other = name[:-1] + ("b" if name.endswith("a") else "a")
        if other not in tensors:
            problems.append(f"{name}: its other half, {other}, is missing")
    if problems:
        raise AdapterError("adapter does not fit the base: " + "; ".join(problems))
    if not tensors:
        raise AdapterError("adapter holds no LoRA matrices")
    return tensors


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
