"""The GPU that llama.cpp was built for, and how much of a model goes there."""

import ctypes
from typing import Any, Final

import llama_cpp

from templora_edge.engine import backend
from templora_edge.errors import OptionError

_TYPES: Final = (1, 2)
"""GGML_BACKEND_DEVICE_TYPE_GPU and _IGPU in ggml-backend.h, in the order llama.cpp prefers."""
_ALL: Final = -1
"""Number of layers that llama.cpp takes for all."""

_LIBRARY: Final = llama_cpp.llama_cpp._lib
_by_type = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int)(("ggml_backend_dev_by_type", _LIBRARY))
_description = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)(
    ("ggml_backend_dev_description", _LIBRARY)
)
_no_devices: Final = (ctypes.c_void_p * 1)(None)


def find_gpu() -> str | None:
    """The name of the first GPU; None if llama.cpp was built without one, or finds none."""
    backend.start()
    if not llama_cpp.llama_supports_gpu_offload():
        return None
    found = next(filter(None, map(_by_type, _TYPES)), None)
    return None if found is None else bytes(_description(found)).decode("utf-8", "replace")


def gpu_of(n_gpu_layers: int | str) -> str | None:
    """The name of the GPU that holds ``n_gpu_layers`` layers of a model; None: it has none.

    Raises:
        OptionError: layers are asked for, and there is no GPU.
    """
    if n_gpu_layers == 0:
        return None
    gpu = find_gpu()
    if gpu is None and n_gpu_layers != "auto":
        raise OptionError(
            f"-ngl {n_gpu_layers}: this build of llama.cpp has no GPU, or finds none; expected 0 "
            "or auto, or a llama-cpp-python that is built for CUDA, Metal or Vulkan"
        )
    return gpu


def configure(params: Any, n_gpu_layers: int | str) -> str | None:
    """Set the parameters of a model to be loaded; returns what `gpu_of` does.

    Without layers on a GPU, none is used for anything: by default llama.cpp would still send large
    batches there.

    Raises:
        OptionError: layers are asked for, and there is no GPU.
    """
    gpu = gpu_of(n_gpu_layers)
    if gpu is None:
        params.n_gpu_layers = 0
        params.devices = ctypes.cast(_no_devices, ctypes.c_void_p)
    else:
        params.n_gpu_layers = _ALL if isinstance(n_gpu_layers, str) else n_gpu_layers
    return gpu
