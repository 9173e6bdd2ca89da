"""Read-only view of a base GGUF: its metadata and its tensors, mapped, never copied."""

import hashlib
import struct
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
import numpy.typing as npt

from templora_edge.errors import ModelFileError

MAGIC: Final = b"GGUF"
TRANSLATION_TEMPLATE: Final = "templora.translation_template"
"""Metadata of models made for translation: the template of their prompt."""
MAX_ARRAY: Final = 1024
"""Longest metadata array that is read: the vocabularies are longer, all settings are shorter."""


class _Reader(gguf.GGUFReader):
    """gguf's reader, without the vocabulary, on whose entries it spends many seconds."""

    def _get_field_parts(
        self, orig_offs: int, raw_type: int
    ) -> tuple[int, list[npt.NDArray[Any]], list[int], list[gguf.GGUFValueType]]:
        if raw_type == gguf.GGUFValueType.ARRAY:
            item_type, length = struct.unpack_from("<IQ", self.data.data, orig_offs)
            if length > MAX_ARRAY:
                size = self._array_bytes(orig_offs + 12, item_type, length)
                return 12 + size, [], [], [gguf.GGUFValueType.ARRAY]
        return super()._get_field_parts(orig_offs, raw_type)

    def _array_bytes(self, offset: int, item_type: int, length: int) -> int:
        if item_type != gguf.GGUFValueType.STRING:
            return length * np.dtype(self.gguf_scalar_to_np[gguf.GGUFValueType(item_type)]).itemsize
        end = offset
        for _ in range(length):
            end += 8 + struct.unpack_from("<Q", self.data.data, end)[0]
        return end - offset


class GgufBase:
    """A GGUF model file, opened read-only. Metadata arrays longer than `MAX_ARRAY` read as absent.

    Raises:
        ModelFileError: the path is missing, a directory, not a GGUF, or damaged.
    """

    def __init__(self, path: Path) -> None:
        check_is_gguf(path)
        try:
            self._reader = _Reader(path)
        except (ValueError, LookupError, OverflowError, MemoryError, struct.error) as error:
            raise ModelFileError(
                f"{path}: damaged or truncated GGUF ({error}); expected a whole file, "
                f"found {path.stat().st_size} bytes; download or convert it again"
            ) from error
        self.path = path
        if (parts := self.get("split.count", 0)) > 1:
            raise ModelFileError(
                f"{path}: one of {parts} parts of a split GGUF; expected a single file; "
                "join them with llama.cpp's llama-gguf-split --merge"
            )
        self.tensors: dict[str, gguf.ReaderTensor] = {t.name: t for t in self._reader.tensors}
        if not self.tensors or "general.architecture" not in self._reader.fields:
            raise ModelFileError(
                f"{path}: a GGUF without "
                f"{'general.architecture' if self.tensors else 'tensors'}; expected a model"
            )

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture, as in `general.architecture`."""
        return str(self.get("general.architecture"))

    @property
    def n_params(self) -> int:
        """Number of weights in all tensors."""
        return sum(int(t.n_elements) for t in self.tensors.values())

    def get(self, key: str, default: Any = None) -> Any:
        """The metadata value of ``key``; ``{arch}`` in it stands for the architecture."""
        if "{arch}" in key:
            key = key.replace("{arch}", self.architecture)
        field = self._reader.get_field(key)
        return default if field is None or not field.data else field.contents()

    def require(self, key: str) -> Any:
        """As `get`, for a key that a model of this architecture cannot do without.

        Raises:
            ModelFileError: the key is absent.
        """
        value = self.get(key)
        if value is None:
            name = key.replace("{arch}", self.architecture)
            raise ModelFileError(f"{self.path}: metadata key {name} is missing; convert it again")
        return value

    def tensor(self, name: str) -> gguf.ReaderTensor:
        """The mapped tensor ``name``, with its numpy view of the quantized blocks.

        Raises:
            ModelFileError: there is no such tensor.
        """
        try:
            return self.tensors[name]
        except KeyError:
            raise ModelFileError(
                f"{self.path}: tensor {name} is missing; expected one in a "
                f"{self.architecture} model"
            ) from None

    def dequantize(self, name: str) -> npt.NDArray[np.float32]:
        """Tensor ``name`` as float32, in its numpy shape (out, in)."""
        tensor = self.tensor(name)
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        return np.asarray(values, dtype=np.float32)

    def sha256(self) -> str:
        """Hex digest of the whole file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def check_is_gguf(path: Path) -> None:
    """Cheap checks that give the clearest message.

    Raises:
        ModelFileError: the path is missing, a directory, unreadable, or not a GGUF.
    """
    if path.is_dir():
        raise ModelFileError(f"{path}: is a directory; expected a GGUF file")
    try:
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
    except FileNotFoundError:
        raise ModelFileError(f"{path}: no such file; expected a GGUF model") from None
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    if magic != MAGIC:
        raise ModelFileError(
            f"{path}: not a GGUF file (it starts with {magic!r}, expected {MAGIC!r}); "
            "convert a checkpoint with: templora convert base HF_DIR OUT.gguf"
        )
