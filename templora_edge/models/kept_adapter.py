"""Conversion of a GGUF adapter back to PEFT's LoRA weights, to continue training it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from templora_edge.errors import AdapterError, listed
from templora_edge.models.adapter_file import AdapterFile
from templora_edge.models.adapter_layout import AdapterTarget, peft_name
from templora_edge.models.families import (
    FUSED_QKV,
    family_of,
    fused_rows,
    rope_row_order,
    tensor_of,
)
from templora_edge.models.gguf_file import Floats, GgufFile


@dataclass(frozen=True, slots=True)
class _Part:
    """Where the two matrices of a layer are stored."""

    tensor: str
    rows: slice
    """The layer's rows in B."""
    ranks: slice
    """The layer's rows in A, which are its columns in B."""
    rank: int


@dataclass(frozen=True, slots=True)
class KeptAdapter:
    """An adapter in a GGUF file, by transformers' layers; it may have any layers, of any rank."""

    file: AdapterFile
    parts: Mapping[str, _Part]
    """Full transformers name of a layer -> its matrices, in the order of the network."""

    @classmethod
    def read(cls, path: Path, base: GgufFile) -> "KeptAdapter":
        """Open and check ``path``; weights are read on demand.

        Raises:
            ModelFileError: the file is not a GGUF.
            AdapterError: the file is not a LoRA adapter, holds numbers that are not finite, or does
                not fit ``base``.
            UnsupportedModelError: the base is not of a known family.
        """
        file = AdapterFile.read(path)
        file.check_fits(base)
        halves = (half for tensor in file.ranks for half in file.matrices(tensor))
        if not (math.isfinite(file.alpha) and all(np.isfinite(half).all() for half in halves)):
            raise AdapterError(
                f"{path}: holds weights that are not finite numbers; "
                "expected an adapter from --adapter-out"
            )
        parts = {}
        for module in family_of(base).modules(int(base.require("{arch}.block_count"))):
            name, rows = tensor_of(base, module)
            tensor = f"{name}.weight"
            if tensor not in file.ranks:
                continue
            if rows == slice(None):
                part: _Part | None = _Part(tensor, rows, slice(None), file.ranks[tensor])
            else:
                part = _fused_part(file, tensor, module, fused_rows(base))
            if part is not None:
                parts[module] = part
        if not parts:
            raise AdapterError(f"{path}: all zero; expected one that has been trained")
        return cls(file, parts)

    @property
    def modules(self) -> tuple[str, ...]:
        """Full transformers names of the layers that carry the adapter."""
        return tuple(self.parts)

    @property
    def rank(self) -> int:
        """Largest rank of any layer."""
        return max(part.rank for part in self.parts.values())

    @property
    def alpha(self) -> float:
        """LoRA alpha; if the file has none, the rank, which scales the output by 1."""
        return self.file.alpha or float(self.rank)

    def weights(
        self, fresh: Mapping[str, Floats], scale: float, target: AdapterTarget
    ) -> dict[str, Floats]:
        """PEFT's weights of the adapter, the inverse of `gguf_tensors`.

        A layer with a smaller rank than the trained one takes its further rows of A from ``fresh``,
        with zeros in B: its output does not change, and it can use the whole rank.

        Args:
            fresh: weights of a fresh adapter on all trained layers, PEFT name -> (r, in) for
                lora_A, (out, r) for lora_B.
            scale: alpha / rank of the trained adapter.
            target: the base that the adapter belongs to.

        Raises:
            AdapterError: a layer of the adapter is not trained, or has a larger rank.
        """
        names = {name: peft_name(name, "A") for name in self.parts}
        self.check_kept({name: len(fresh[a]) for name, a in names.items() if a in fresh})
        result: dict[str, Floats] = {}
        for module, part in self.parts.items():
            both = peft_name(module, "A"), peft_name(module, "B")
            a, b = (np.array(fresh[name]) for name in both)
            own_a, own_b = self.file.matrices(part.tensor)
            own_b = own_b[part.rows, part.ranks]
            heads = target.head_counts.get(module.split(".", 3)[-1])
            if heads is not None:
                own_b = own_b[np.argsort(rope_row_order(own_b.shape[0], heads))]
            a[: part.rank] = own_a[part.ranks]
            b[:] = 0
            b[:, : part.rank] = own_b / np.float32(scale / self.file.scale(part.tensor))
            result |= zip(both, (a, b), strict=True)
        return result

    def check_kept(self, ranks: Mapping[str, int]) -> None:
        """Check that training keeps the whole adapter.

        Args:
            ranks: full transformers name of each trained layer -> rank of its adapter.

        Raises:
            AdapterError: a layer of the adapter is not trained, or has a larger rank.
        """
        path = self.file.file.path
        if left_out := [name for name in self.parts if name not in ranks]:
            raise AdapterError(
                f"{path}: --targets and --layers leave out layers that it has: {listed(left_out)}"
            )
        for name, part in self.parts.items():
            if part.rank > ranks[name]:
                raise AdapterError(
                    f"{path}: {name} has rank {part.rank}; expected at most --rank {ranks[name]}"
                )


def _fused_part(
    file: AdapterFile, tensor: str, module: str, rows: tuple[slice, ...]
) -> _Part | None:
    """A layer's part of the adapter on `attn_qkv`; None if the adapter has none for the layer.

    If three adapters were joined (`gguf_tensors`), each has a third of the rank, and one whose A
    and B are zero means no adapter. Otherwise each of the three layers has the whole A.
    """
    a, b = file.matrices(tensor)
    index, rank = FUSED_QKV.index(module.split(".", 3)[-1]), file.ranks[tensor]
    third = rank // len(rows)
    thirds = [slice(i * third, (i + 1) * third) for i in range(len(rows))]
    diagonal = np.zeros_like(b)
    for some, ranks in zip(rows, thirds, strict=True):
        diagonal[some, ranks] = b[some, ranks]
    if rank % len(rows) or not np.array_equal(diagonal, b):
        return _Part(tensor, rows[index], slice(None), rank)
    if not a[thirds[index]].any() and not b[rows[index], thirds[index]].any():
        return None
    return _Part(tensor, rows[index], thirds[index], third)
