"""LoRA adapters in GGUF files, as llama.cpp reads them (src/llama-adapter.cpp)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gguf import ReaderTensor

from templora_edge.errors import AdapterError, listed
from templora_edge.models.gguf_file import ADAPTER, Floats, GgufFile

_HALVES: Final = (".lora_a", ".lora_b")
_ALORA: Final = "adapter.alora.invocation_tokens"


class AdapterGguf(GgufFile):
    """The GGUF file of an adapter, opened read-only."""

    kind = ADAPTER


@dataclass(frozen=True, slots=True)
class AdapterFile:
    """A LoRA adapter in a GGUF file; its matrices are read on demand."""

    file: GgufFile
    alpha: float
    """LoRA alpha; 0 if the file has none, in which case the output is not scaled."""
    ranks: Mapping[str, int]
    """Base tensor, for example `blk.0.attn_q.weight` -> rank of its adapter."""

    @classmethod
    def read(cls, path: Path) -> "AdapterFile":
        """Open ``path``.

        Raises:
            ModelFileError: the file is not a GGUF.
            AdapterError: the file is not a plain LoRA adapter, which has pairs of matrices only.
        """
        file = AdapterGguf(path)
        if file.get("general.type") != ADAPTER or file.get("adapter.type") != "lora":
            raise AdapterError(
                f"{path}: not a LoRA adapter; expected a GGUF that --adapter-out or "
                "templora convert lora writes"
            )
        if file.get(_ALORA) is not None:
            raise AdapterError(
                f"{path}: an aLoRA, active only after its invocation tokens; expected a plain LoRA"
            )
        names = {name.removesuffix(half) for name in file.tensors for half in _HALVES}
        bases = sorted(names - file.tensors.keys())
        alone = [
            name
            for name in file.tensors
            if not name.endswith(_HALVES)
            or not {name[: -len(half)] + half for half in _HALVES} <= file.tensors.keys()
        ]
        if alone:
            raise AdapterError(
                f"{path}: not pairs of lora_a and lora_b: {listed(sorted(alone))}; "
                "expected a plain LoRA"
            )
        ranks = {name: _shape(file.tensors[f"{name}.lora_a"])[1] for name in bases}
        return cls(file, float(file.get("adapter.lora.alpha", 0.0)), ranks)

    @property
    def n_params(self) -> int:
        """Number of weights in all matrices."""
        return self.file.n_params

    def scale(self, tensor: str) -> float:
        """Factor by which llama.cpp scales B A x of a base tensor."""
        return self.alpha / self.ranks[tensor] if self.alpha else 1.0

    def matrices(self, tensor: str) -> tuple[Floats, Floats]:
        """A (r, in) and B (out, r) of a base tensor, with rows in the order of the base's file."""
        a, b = (self.file.dequantize(tensor + half) for half in _HALVES)
        return a.reshape(self.ranks[tensor], -1), b

    def check_fits(self, base: GgufFile) -> None:
        """Check that llama.cpp can apply this adapter to ``base``, without loading either.

        llama.cpp itself would abort on an adapter of tied token embeddings.

        Raises:
            AdapterError: the adapter does not fit; it names the tensors.
        """
        path = self.file.path
        if self.file.architecture != base.architecture:
            raise AdapterError(
                f"{path}: an adapter for {self.file.architecture}; {base.path} is "
                f"{base.architecture}"
            )
        problems = [words for name in self.ranks if (words := self._misfit(name, base))]
        if problems:
            raise AdapterError(f"{path}: does not fit {base.path}: {listed(problems, '; ')}")

    def _misfit(self, name: str, base: GgufFile) -> str | None:
        if not name.startswith("blk."):
            return f"{name} is not in a decoder layer; adapters are supported only there"
        if name not in base.tensors:
            return f"{name} is not in the model"
        a, b, w = (
            _shape(tensor)
            for tensor in (*(self.file.tensors[name + half] for half in _HALVES), base.tensor(name))
        )
        if [a[0], b[1], *a[2:]] != w or a[1:2] != b[:1] or a[2:] != b[2:]:
            return f"{name} is for a matrix of {b[1]} x {a[0]}, the model's is {w[1]} x {w[0]}"
        return None


def _shape(tensor: ReaderTensor) -> list[int]:
    """Dimensions, shortest stride first, at least two; files omit a last 1, such as a rank of 1."""
    return [int(n) for n in tensor.shape] + [1] * (2 - len(tensor.shape))
