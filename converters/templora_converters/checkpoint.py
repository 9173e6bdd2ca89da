"""Reading JSON and tensors of a Hugging Face checkpoint folder, without torch."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.utility import LocalTensor, SafetensorsLocal

from templora_edge.errors import CheckpointError
from templora_edge.models.gguf_file import Floats


def read_json(path: Path, expected: str) -> dict[str, Any]:
    """Read the JSON object in ``path``; ``expected`` names the kind of folder in messages.

    Raises:
        CheckpointError: the file is missing or not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}; expected {expected}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON ({error}); expected {expected}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: found {type(value).__name__}; expected a JSON object")
    return value


def read_tensors(path: Path) -> dict[str, Callable[[], Floats]]:
    """Tensors of a safetensors file by name, each read as float32 when called.

    Raises:
        CheckpointError: the file is missing or damaged, now or when a tensor is read.
    """
    try:
        tensors = SafetensorsLocal(path).tensors
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error
    return {name: partial(_read, path, tensor) for name, tensor in tensors.items()}


def _read(path: Path, tensor: LocalTensor) -> Floats:
    try:
        raw = tensor.mmap_bytes()
        if tensor.dtype == "BF16":
            values = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType.BF16)
        else:
            values = raw.view(
                {"F64": np.float64, "F32": np.float32, "F16": np.float16}[tensor.dtype]
            )
        return values.astype(np.float32).reshape(tensor.shape)
    except KeyError:
        raise CheckpointError(
            f"{path}: a tensor of type {tensor.dtype}; expected F64, F32, F16 or BF16"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: truncated safetensors file ({error})") from error
