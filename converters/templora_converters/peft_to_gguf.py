"""Conversion of a saved PEFT adapter to a GGUF adapter for llama.cpp."""

from pathlib import Path

import numpy as np

from templora_converters.checkpoint import read_json, read_tensors
from templora_converters.peft_config import PeftConfig
from templora_edge.errors import AdapterError
from templora_edge.host.files import replacing
from templora_edge.models.adapter_layout import PEFT_NAME, AdapterTarget, write_adapter
from templora_edge.models.families import FAMILIES
from templora_edge.models.gguf_file import GgufFile


def convert(peft_dir: Path, out: Path, base: Path | None = None) -> None:
    """Write a saved PEFT adapter as the GGUF adapter ``out``.

    Args:
        peft_dir: folder with adapter_config.json and adapter_model.safetensors.
        out: file to write.
        base: GGUF of the adapter's base; default: the local checkpoint named in the config.

    Raises:
        AdapterError: the folder is not a LoRA adapter that llama.cpp can apply.
        CheckpointError: its files cannot be read.
        OutputError: ``out`` could not be written.
    """
    config = PeftConfig(peft_dir)
    target = _target(base, config.base, peft_dir)
    weights = {}
    for name, read in read_tensors(peft_dir / "adapter_model.safetensors").items():
        weights[name] = value = read()
        match = PEFT_NAME.match(name)
        if match is not None and match["half"] == "B":
            weights[name] = value * np.float32(config.factor(match["module"], value.shape[1]))
    with replacing(out, "OUT.gguf") as temporary:
        write_adapter(temporary, weights, config.alpha, target)


def _target(base: Path | None, named: str | None, peft_dir: Path) -> AdapterTarget:
    if base is not None:
        return AdapterTarget.from_gguf(GgufFile(base))
    source = Path(named) if named else None
    if source is not None and source.is_file():
        return AdapterTarget.from_gguf(GgufFile(source))
    if source is not None and (source / "config.json").is_file():
        return AdapterTarget.from_config(
            read_json(source / "config.json", "a checkpoint folder"), source
        )
    raise AdapterError(
        f"{peft_dir}: its base {named!r} is not a local checkpoint; name the base GGUF with -m "
        f"(architectures: {', '.join(FAMILIES)})"
    )
