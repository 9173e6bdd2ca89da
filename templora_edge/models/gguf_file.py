"""Read-only view of a GGUF: its metadata and its tensors, which are mapped, not copied."""

import hashlib
import re
import struct
from glob import escape
from pathlib import Path
from typing import Any, ClassVar, Final

import gguf
import numpy as np
import numpy.typing as npt

from templora_edge.errors import ModelFileError

Floats = npt.NDArray[np.float32]

MAGIC: Final = b"GGUF"
ADAPTER: Final = "adapter"
"""`general.type` of a LoRA adapter."""
TRANSLATION_TEMPLATE: Final = "templora.translation_template"
"""Metadata key of the prompt template in models made for translation."""
MAX_ARRAY: Final = 1024
"""Longest metadata array that is read: vocabularies are longer, all settings are shorter."""
_PART_NAME: Final = re.compile(r"(?P<model>.+)-\d{5}-of-\d{5}\.gguf")
"""llama.cpp's file names for the parts of a split model."""
_N_TENSORS: Final = "split.tensors.count"


class _Reader(gguf.GGUFReader):
    """gguf's reader without the vocabulary, which takes it many seconds to read.

    Raises:
        ModelFileError: the path is missing, a directory, not a GGUF, or damaged.
    """

    def __init__(self, path: Path) -> None:
        check_is_gguf(path)
        try:
            super().__init__(path)
        except (ValueError, LookupError, OverflowError, MemoryError, struct.error) as error:
            raise ModelFileError(
                f"{path}: damaged or truncated GGUF ({error}); expected a whole file, "
                f"found {path.stat().st_size} bytes; download or convert it again"
            ) from error

    def value(self, key: str, default: Any = None) -> Any:
        """The metadata value of ``key``."""
        field = self.get_field(key)
        return default if field is None or not field.data else field.contents()

    @property
    def part(self) -> tuple[int, int]:
        """Index of the file among the parts of a split model, and their number; else (0, 1)."""
        return self.value("split.no", 0), max(1, self.value("split.count", 1))

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


class GgufFile:
    """A GGUF model, opened read-only. Metadata arrays longer than `MAX_ARRAY` read as absent.

    Any part of a split model may be given; the others are found by their names in its folder.

    Raises:
        ModelFileError: the file or one of its parts is missing, a directory, not a GGUF, or
            damaged; or it is an adapter.
    """

    kind: ClassVar[str] = "model"

    def __init__(self, path: Path) -> None:
        given = _Reader(path)
        if given.value("general.type") == ADAPTER and self.kind != ADAPTER:
            raise ModelFileError(
                f"{path}: an adapter, not a model; name its base as the model, and the adapter "
                "with --lora or --adapter-in"
            )
        self.paths = _paths_of_parts(path, given)
        self.path = self.paths[0]
        """Path of the file, or of the first part of a split model."""
        parts = [given if part == path else _Reader(part) for part in self.paths]
        self._reader = parts[0]
        self.tensors: dict[str, gguf.ReaderTensor] = {}
        for index, (part, reader) in enumerate(zip(self.paths, parts, strict=True)):
            if reader.part != (index, len(parts)):
                raise ModelFileError(
                    f"{part}: {_describe(reader)}; expected part {index + 1} of {len(parts)}"
                )
            if index > 0:
                self._check_belongs(part, reader)
            self.tensors |= {tensor.name: tensor for tensor in reader.tensors}
        if not self.tensors or "general.architecture" not in self._reader.fields:
            raise ModelFileError(
                f"{path}: a GGUF without "
                f"{'general.architecture' if self.tensors else 'tensors'}; expected a model"
            )
        if (total := self.get(_N_TENSORS, len(self.tensors))) != len(self.tensors):
            raise ModelFileError(
                f"{path}: {len(self.tensors)} tensors in all parts, expected {total}; "
                "download them again"
            )

    def _check_belongs(self, part: Path, reader: _Reader) -> None:
        """Check that a part belongs to the same model as those before it."""
        ours, theirs = self.get(_N_TENSORS), reader.value(_N_TENSORS)
        width = self.get("{arch}.embedding_length")
        reasons = [f"of a model of {theirs} tensors, not {ours}"] if ours != theirs else []
        for tensor in reader.tensors:
            if tensor.name in self.tensors:
                reasons.append(f"{tensor.name} is in a part before it")
            elif tensor.name.endswith(".attn_norm.weight") and tensor.shape[0] != width:
                reasons.append(f"{tensor.name} has {tensor.shape[0]} values, not {width}")
        if reasons:
            raise ModelFileError(
                f"{part}: a part of another model than {self.path} ({reasons[0]}); "
                "download both again"
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
        return self._reader.value(key, default)

    def require(self, key: str) -> Any:
        """Like `get`, for a key that models of this architecture must have.

        Raises:
            ModelFileError: the key is absent.
        """
        value = self.get(key)
        if value is None:
            name = key.replace("{arch}", self.architecture)
            raise ModelFileError(f"{self.path}: metadata key {name} is missing; convert it again")
        return value

    def tensor(self, name: str) -> gguf.ReaderTensor:
        """The mapped tensor ``name``, with a numpy view of its quantized blocks.

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

    @property
    def file_bytes(self) -> int:
        """Size of the file, or of all parts."""
        return sum(path.stat().st_size for path in self.paths)

    def sha256(self) -> str:
        """Hex SHA-256 of the file, or of all parts concatenated."""
        digest = hashlib.sha256()
        for path in self.paths:
            with path.open("rb") as file:
                hashlib.file_digest(file, lambda: digest)
        return digest.hexdigest()


def files_of(path: Path) -> list[tuple[str, Path]]:
    """The model's file, and by their names the other parts of a split one, with the flag -m."""
    match = _PART_NAME.fullmatch(path.name)
    pattern = f"{escape(match['model'])}-?????-of-?????.gguf" if match else ""
    parts = sorted(path.parent.glob(pattern)) if pattern else []
    return [("-m", part) for part in (path, *parts)]


def _paths_of_parts(path: Path, reader: _Reader) -> tuple[Path, ...]:
    """Paths of all parts of the model that the file at ``path`` belongs to."""
    number, count = reader.part
    if count == 1:
        return (path,)
    match = _PART_NAME.fullmatch(path.name)
    model = match["model"] if match else path.stem
    names = [f"{model}-{index:05d}-of-{count:05d}.gguf" for index in range(1, count + 1)]
    if number >= count or path.name != names[number]:
        raise ModelFileError(
            f"{path}: {_describe(reader)}; expected a name like {names[min(number, count - 1)]}"
        )
    paths = tuple(path.with_name(name) for name in names)
    for part in paths:
        if not part.exists():
            raise ModelFileError(f"{part}: no such file; {path.name} is one of {count} parts")
    return paths


def _describe(reader: _Reader) -> str:
    """Which part of a model a file is, for messages."""
    number, count = reader.part
    return "a whole model" if count == 1 else f"part {number + 1} of {count}, by its metadata"


def check_is_gguf(path: Path) -> None:
    """Check that ``path`` is a GGUF, cheaply and with clear messages.

    Raises:
        ModelFileError: the path is missing, a directory, unreadable, or not a GGUF.
    """
    if path.is_dir():
        raise ModelFileError(f"{path}: is a directory; expected a GGUF file")
    try:
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
    except FileNotFoundError:
        raise ModelFileError(f"{path}: no such file; expected a GGUF") from None
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    if magic != MAGIC:
        raise ModelFileError(
            f"{path}: not a GGUF file (it starts with {magic!r}, expected {MAGIC!r}); "
            "templora convert makes one from a checkpoint or a PEFT adapter"
        )
