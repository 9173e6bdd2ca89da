"""Dequantization with ggml's own functions.

ggml is loaded from the shared library that llama-cpp-python ships, without importing llama_cpp.
gguf's numpy dequantizer is the reference in tests, and the fallback if the library or a type is
missing.
"""

import ctypes
import importlib.util
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Final

import gguf
import numpy as np
import numpy.typing as npt
import torch

Blocks = npt.NDArray[np.uint8]
ToFloat = Callable[[int, int, int], None]

CHUNK_FLOATS: Final = 1 << 18
"""Floats that a thread dequantizes before rounding them to bf16: one MiB, which fits its cache."""


class _TypeTraits(ctypes.Structure):
    """`struct ggml_type_traits` (ggml.h)."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
    )


@cache
def _library(name: str) -> ctypes.CDLL | None:
    spec = importlib.util.find_spec("llama_cpp")  # finds it without importing it
    suffix = "dylib" if sys.platform == "darwin" else "so"
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "lib" / f"lib{name}.{suffix}"
        if path.is_file():
            return ctypes.CDLL(str(path))
    return None


@cache
def to_bf16_function() -> ToFloat | None:
    """``ggml_cpu_fp32_to_bf16(floats, bf16, n)``, vectorised for this CPU; None if missing."""
    function = getattr(_library("ggml-cpu"), "ggml_cpu_fp32_to_bf16", None)
    if function is None:
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    function.restype = None
    result: ToFloat = function
    return result


@cache
def to_float_function(kind: gguf.GGMLQuantizationType) -> ToFloat | None:
    """Ggml's ``to_float(blocks, floats, n)`` for a type, taking addresses; None if missing."""
    get_type_traits = getattr(_library("ggml-base"), "ggml_get_type_traits", None)
    if get_type_traits is None:
        return None
    get_type_traits.argtypes = [ctypes.c_int]
    get_type_traits.restype = ctypes.POINTER(_TypeTraits)
    traits = get_type_traits(int(kind)).contents
    block, size = gguf.GGML_QUANT_SIZES[kind]
    agrees = traits.blck_size == block and traits.type_size == size
    known = agrees and bool(ctypes.cast(traits.to_float, ctypes.c_void_p).value)
    return traits.to_float if known else None


class Dequantizer:
    """Dequantizes rows into a torch buffer, on several threads."""

    def __init__(self, n_threads: int) -> None:
        self._n_threads = n_threads
        self._pool = ThreadPoolExecutor(max(1, n_threads - 1))  # and the caller's own thread

    def rows(
        self, blocks: Blocks, kind: gguf.GGMLQuantizationType, out: torch.Tensor
    ) -> torch.Tensor:
        """Dequantize ``blocks`` (n, bytes per row) into ``out`` (n, width), float32 or bfloat16."""
        if kind == gguf.GGMLQuantizationType.F32:
            return out.copy_(_as_tensor(blocks.view(np.float32)))
        function = to_float_function(kind)
        if function is None or (out.dtype != torch.float32 and to_bf16_function() is None):
            return out.copy_(_as_tensor(gguf.quants.dequantize(blocks, kind)))
        share = -(-len(blocks) // self._n_threads)
        parts = [slice(begin, begin + share) for begin in range(0, len(blocks), share)]
        own = parts.pop()
        jobs = [self._pool.submit(_convert, function, blocks[part], out[part]) for part in parts]
        _convert(function, blocks[own], out[own])
        for job in jobs:
            job.result()
        return out


_buffers = threading.local()


def _buffer(n_floats: int) -> npt.NDArray[np.float32]:
    """The thread's own buffer; a new one each time would cost page faults each time."""
    if getattr(_buffers, "floats", np.empty(0)).size < n_floats:
        _buffers.floats = np.empty(n_floats, np.float32)
    floats: npt.NDArray[np.float32] = _buffers.floats
    return floats


def _convert(function: ToFloat, blocks: Blocks, out: torch.Tensor) -> None:
    """Dequantize on one thread, using only C functions: torch would start threads of its own."""
    n, width = out.shape
    to_bf16 = to_bf16_function()
    if out.dtype == torch.float32 or to_bf16 is None:
        function(blocks.ctypes.data, out.data_ptr(), n * width)
        return
    step = max(1, CHUNK_FLOATS // width)
    floats = _buffer(step * width)
    source, row_bytes = blocks.ctypes.data, blocks.strides[0]
    for begin in range(0, n, step):
        count = min(step, n - begin) * width
        function(source + begin * row_bytes, floats.ctypes.data, count)
        target = out.data_ptr() + begin * width * out.element_size()
        to_bf16(floats.ctypes.data, target, count)


def _as_tensor(values: npt.NDArray[np.float32]) -> torch.Tensor:
    if values.flags.writeable:
        return torch.from_numpy(values)
    # torch warns about read-only arrays
    copy: npt.NDArray[np.float32] = np.array(values, dtype=np.float32)
    return torch.from_numpy(copy)
