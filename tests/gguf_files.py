"""GGUF files made from other GGUF files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np


def copy_gguf(
    source: Path,
    out: Path,
    add: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
    *,
    without: Sequence[str] = (),
    split_max_tensors: int = 0,
) -> None:
    """Write a copy of ``source`` with the metadata that ``add`` adds, and without some keys."""
    reader = gguf.GGUFReader(source)
    writer = _copy_metadata(reader, out, without, split_max_tensors)
    add(writer)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    write_out(writer)


def rewrite(source: Path, out: Path, change: Callable[[dict[str, Any]], None], **keys: int) -> Path:
    """A copy of an F32 GGUF whose tensors went through ``change``, with more integer metadata."""
    reader = gguf.GGUFReader(source)
    writer = _copy_metadata(reader, out)
    for key, number in keys.items():
        writer.add_uint32(f"{writer.arch}.{key}", number)
    tensors = {t.name: np.array(t.data) for t in reader.tensors}
    change(tensors)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    write_out(writer)
    return out


def fuse_qkv(tensors: dict[str, Any]) -> None:
    """A change for `rewrite`: join queries, keys and values of three layers."""
    for layer in range(3):
        parts = [tensors.pop(f"blk.{layer}.attn_{part}.weight") for part in "qkv"]
        tensors[f"blk.{layer}.attn_qkv.weight"] = np.concatenate(parts)


def write_out(writer: gguf.GGUFWriter) -> None:
    """Write everything that was added, and close."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def assert_same_tensors(ours: Path, theirs: Path) -> None:
    """Whether two files' tensors have the same names, types and bytes."""
    a, b = ({t.name: t for t in gguf.GGUFReader(path).tensors} for path in (ours, theirs))
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert tensor.tensor_type == b[name].tensor_type, name
        np.testing.assert_array_equal(tensor.data, b[name].data, err_msg=name)


def _copy_metadata(
    reader: gguf.GGUFReader, out: Path, without: Sequence[str] = (), split_max_tensors: int = 0
) -> gguf.GGUFWriter:
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(out, architecture, split_max_tensors=split_max_tensors)
    for key, field in reader.fields.items():
        if not key.startswith(("GGUF.", "general.architecture", *without)):
            kind = field.types[0]
            sub_type = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(key, field.contents(), kind, sub_type)
    return writer
