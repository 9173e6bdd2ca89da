"""Description of a GGUF adapter and its uses. Reads only the file; loads no model."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from templora_edge.errors import listed
from templora_edge.models.adapter_file import AdapterFile
from templora_edge.models.families import FAMILIES


@dataclass(frozen=True, slots=True)
class AdapterInfo:
    """What `templora info` shows about an adapter."""

    path: str
    kind: str
    """Always `adapter`."""
    architecture: str
    ranks: tuple[int, ...]
    """Distinct ranks of the layers, ascending."""
    alpha: float
    """LoRA alpha; 0 if the file has none, in which case the output is not scaled."""
    parameters: int
    file_bytes: int
    types: dict[str, float]
    """ggml type -> share of the weights."""
    layers: dict[str, tuple[int, ...]]
    """llama.cpp's name of a module -> decoder layers in which the adapter changes it."""
    others: tuple[str, ...]
    """Tensors outside the decoder layers that the adapter changes."""
    lora: bool
    """Whether --lora accepts the adapter, with a model of the right shape."""
    lora_reason: str
    """Why not; empty if it does."""
    adapter_in: bool
    """Whether --adapter-in accepts the adapter, with a model of the right shape."""
    adapter_in_reason: str
    """Why not; empty if it does."""


def adapter_info(path: Path) -> AdapterInfo:
    """Describe a GGUF adapter.

    Raises:
        ModelFileError: the file is not a GGUF.
        AdapterError: the file is not a LoRA adapter.
    """
    adapter = AdapterFile.read(path)
    layers: dict[str, list[int]] = {}
    others = []
    for tensor in adapter.ranks:
        parts = tensor.removesuffix(".weight").split(".")
        if parts[0] == "blk" and len(parts) == 3 and parts[1].isdigit():
            layers.setdefault(parts[2], []).append(int(parts[1]))
        else:
            others.append(tensor)
    weights: Counter[str] = Counter()
    for matrix in adapter.file.tensors.values():
        weights[matrix.tensor_type.name] += int(matrix.n_elements)
    reason = f"{listed(others)}: only adapters on decoder layers are supported" if others else ""
    train_reason = reason or _why_not_trained(adapter.file.architecture, layers.keys())
    return AdapterInfo(
        path=str(path),
        kind="adapter",
        architecture=adapter.file.architecture,
        ranks=tuple(sorted(set(adapter.ranks.values()))),
        alpha=adapter.alpha,
        parameters=adapter.n_params,
        file_bytes=path.stat().st_size,
        types={kind: n / adapter.n_params for kind, n in weights.most_common()},
        layers={module: tuple(sorted(numbers)) for module, numbers in sorted(layers.items())},
        others=tuple(others),
        lora=not reason,
        lora_reason=reason,
        adapter_in=not train_reason,
        adapter_in_reason=train_reason,
    )


def _why_not_trained(architecture: str, modules: Iterable[str]) -> str:
    family = FAMILIES.get(architecture)
    if family is None:
        return f"Temp-LoRA does not train {architecture!r}"
    names = {str(family.gguf_name(name)).split(".")[2] for name in family.modules(1)}
    if unknown := set(modules) - names - {"attn_qkv"}:
        return f"Temp-LoRA does not train {listed(sorted(unknown))} of {architecture}"
    return ""
