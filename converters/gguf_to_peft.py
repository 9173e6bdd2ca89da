"""A llama.cpp GGUF adapter back to PEFT LoRA weights, to go on training it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from converters.checkpoint import Floats
from converters.families import FAMILIES, FUSED_QKV, rope_row_order
from converters.peft_to_gguf import PEFT_NAME, AdapterTarget
from templora_edge.config import Targets
from templora_edge.errors import AdapterError
from templora_edge.gguf_base import GgufBase

_FUSED: Final = "attn_qkv"


@dataclass(frozen=True, slots=True)
class KeptAdapter:
    """An adapter in a GGUF file.

    Raises:
        ModelFileError: the file is not a GGUF.
        AdapterError: it holds no LoRA adapter, or one of a family that is not in the table.
    """

    file: GgufBase
    rank: int
    alpha: float
    targets: Targets
    layers: int
    """Decoder layers that carry it."""

    @classmethod
    def read(cls, path: Path) -> "KeptAdapter":
        """Open ``path``; weights are read when they are asked for."""
        file = GgufBase(path)
        halves = {name: t for name, t in file.tensors.items() if name.endswith(".lora_a")}
        if file.get("adapter.type") != "lora" or not halves:
            raise AdapterError(f"{path}: not a LoRA adapter; expected one of --adapter-out")
        family = FAMILIES.get(file.architecture)
        if family is None:
            raise AdapterError(
                f"{path}: an adapter for {file.architecture!r}; expected one of "
                f"{', '.join(FAMILIES)}"
            )
        n_joined = len(FUSED_QKV) if set(FUSED_QKV) <= set(family.linear) else 1
        attention = any(".attn_" in name for name in halves)
        mlp = any(".ffn_" in name for name in halves)
        ranks = {
            int(t.shape[1]) // (n_joined if _FUSED in name else 1) for name, t in halves.items()
        }
        if len(ranks) != 1:
            raise AdapterError(f"{path}: matrices of several ranks, {sorted(ranks)}; expected one")
        targets = Targets.ALL if attention and mlp else Targets.MLP if mlp else Targets.ATTENTION
        layers = {name.split(".")[1] for name in halves}
        alpha = float(file.get("adapter.lora.alpha", 0.0))
        return cls(file, ranks.pop(), alpha, targets, len(layers))

    def weights(
        self, shapes: Mapping[str, tuple[int, ...]], target: AdapterTarget
    ) -> dict[str, Floats]:
        """PEFT's weights, the inverse of `gguf_tensors`.

        Args:
            shapes: PEFT name -> (r, in) for lora_A, (out, r) for lora_B, of all that is trained.

        Raises:
            AdapterError: names every weight that is missing or of another shape, at once.
        """
        if self.file.architecture != target.family.architecture:
            raise AdapterError(
                f"{self.file.path}: an adapter for {self.file.architecture}, the model is "
                f"{target.family.architecture}"
            )
        found = {name: self._weight(name, shapes, target) for name in shapes}
        problems = [
            f"{name} is {'missing' if value is None else value.shape}, expected {shapes[name]}"
            for name, value in found.items()
            if value is None or value.shape != shapes[name]
        ]
        if problems:
            raise AdapterError(f"{self.file.path}: does not fit the model: {'; '.join(problems)}")
        return {name: value for name, value in found.items() if value is not None}

    def _weight(
        self, name: str, shapes: Mapping[str, tuple[int, ...]], target: AdapterTarget
    ) -> Floats | None:
        match = PEFT_NAME.match(name)
        base_name = target.family.gguf_name(match["module"]) if match else None
        if match is None or base_name is None:
            return None
        module, half = match["module"].split(".", 3)[-1], match["half"].lower()
        tensor = f"{base_name}.weight.lora_{half}"
        value: Floats | None
        if tensor in self.file.tensors:
            value = self.file.dequantize(tensor)
        else:
            joined = f"{base_name.rpartition('.')[0]}.{_FUSED}.weight.lora_{half}"
            value = self._of_fused(joined, name, module, shapes)
        heads = target.head_counts.get(module)
        if value is not None and heads is not None and half == "b":
            value = value[np.argsort(rope_row_order(value.shape[0], heads))]
        return value

    def _of_fused(
        self, joined: str, name: str, module: str, shapes: Mapping[str, tuple[int, ...]]
    ) -> Floats | None:
        """One of the three adapters that were joined for the base's `attn_qkv`."""
        if module not in FUSED_QKV or joined not in self.file.tensors:
            return None
        whole, part = self.file.dequantize(joined), FUSED_QKV.index(module)
        ranks = slice(part * self.rank, (part + 1) * self.rank)
        if joined.endswith("a"):
            return whole[ranks]
        before = [shapes[name.replace(module, other)][0] for other in FUSED_QKV[:part]]
        rows = slice(sum(before), sum(before) + shapes[name][0])
        return whole[rows, ranks] / np.float32(len(FUSED_QKV))
