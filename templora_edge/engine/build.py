"""How llama.cpp was built: the features and devices that it has on this machine."""

import ctypes
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import llama_cpp

from templora_edge.engine import backend

_LIBRARY: Final = llama_cpp.llama_cpp._lib
_KINDS: Final = ("CPU", "GPU", "integrated GPU", "accelerator", "several devices")
"""Names of ggml_backend_dev_type in ggml-backend.h, in its order."""


def _function(name: str, result: Any, *arguments: Any) -> Any:
    return ctypes.CFUNCTYPE(result, *arguments)((name, _LIBRARY))


_count = _function("ggml_backend_dev_count", ctypes.c_size_t)
_get = _function("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
_kind = _function("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)
_name = _function("ggml_backend_dev_name", ctypes.c_char_p, ctypes.c_void_p)
_description = _function("ggml_backend_dev_description", ctypes.c_char_p, ctypes.c_void_p)
_memory = _function(
    "ggml_backend_dev_memory",
    None,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_size_t),
    ctypes.POINTER(ctypes.c_size_t),
)


@dataclass(frozen=True, slots=True)
class Device:
    """A device that llama.cpp can compute on."""

    name: str
    """llama.cpp's name, such as CPU, CUDA0, Metal or Vulkan0."""
    description: str
    kind: str
    memory_bytes: int
    """Memory that it has in all; a processor's or an integrated GPU's is the machine's."""


@dataclass(frozen=True, slots=True)
class Build:
    """The parts of llama.cpp that are built in, and the devices that it finds."""

    version: str
    features: tuple[str, ...]
    """Instruction sets that its code for the processor uses, and other parts that it has."""
    devices: tuple[Device, ...]

    @classmethod
    def here(cls) -> "Build":
        """The installed llama.cpp on this machine."""
        backend.start()
        return cls(
            version("llama-cpp-python"),
            _features(llama_cpp.llama_print_system_info().decode()),
            tuple(_device(_get(index)) for index in range(_count())),
        )


def _features(text: str) -> tuple[str, ...]:
    """Names that are on in the CPU's part of ``CUDA : ARCHS = 900 | CPU : AVX2 = 1 | ...``."""
    found, backend_name = [], ""
    for item in text.split("|"):
        head, colon, rest = item.rpartition(" : ")
        backend_name = head.strip() if colon else backend_name
        name, _, value = rest.partition("=")
        if backend_name == "CPU" and value.strip() == "1":
            found.append(name.strip())
    return tuple(found)


def _device(pointer: int) -> Device:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _memory(pointer, free, total)
    return Device(
        _name(pointer).decode("utf-8", "replace"),
        _description(pointer).decode("utf-8", "replace").strip(),
        _KINDS[_kind(pointer)],
        total.value,
    )
