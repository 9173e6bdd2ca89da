"""What a GGUF adapter is, and what it can be used for. Reads the file only; loads no model."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from templora_edge.errors import listed
from templora_edge.models.adapter_file import AdapterFile
from templora_edge.models.families import FAMILIES


@dataclass(frozen=True, slots=True)
class AdapterInfo:
    """What `templora info` shows of an adapter."""

    path: str
    kind: str
    """`adapter`."""
    architecture: str
    ranks: tuple[int, ...]
    """Ascending; one where all its matrices have it."""
    alpha: float
    """0 where the file has none: the output is not scaled then."""
    parameters: int
    file_bytes: int
    types: dict[str, float]
    """ggml type -> share of the weights."""
    layers: dict[str, tuple[int, ...]]
    """Module, by llama.cpp's name -> numbers of the decoder layers that carry it."""
    others: tuple[str, ...]
    """Tensors outside of the decoder layers that carry it."""
    lora: bool
    """Whether --lora takes it, for a model of its shape."""
    lora_reason: str
    adapter_in: bool
    """Whether --adapter-in takes it, for a model of its shape."""
    adapter_in_reason: str


def adapter_info(path: Path) -> AdapterInfo:
    """Describe a GGUF adapter.

    Raises:
        ModelFileError: the file is not a GGUF.
        AdapterError: it holds no LoRA adapter.
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
    reason = f"{listed(others)}: adapters on decoder layers alone are taken" if others else ""
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
