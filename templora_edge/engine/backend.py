"""llama.cpp's process-wide state: initialisation and log."""

import ctypes
from functools import cache
from typing import Final

import llama_cpp

_ERROR: Final = 4
"""GGML_LOG_LEVEL_ERROR in ggml.h."""

_log: dict[int, bytes] = {}
"""Level -> the first line that llama.cpp logged since `clear_errors`: the cause."""

# No Python code may run in a callback: signal handlers can run between any two of its steps, and
# ctypes drops exceptions they raise there, so Ctrl-C would be lost. Hence a C function, which takes
# two arguments and ignores the third, user_data.
_sink = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p)(_log.setdefault)


@cache
def start() -> None:
    """Initialise llama.cpp once per process, with its log captured."""
    callback = ctypes.cast(_sink, llama_cpp.llama_log_callback)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p())
    llama_cpp.llama_backend_init()


def clear_errors() -> None:
    """Forget lines logged so far."""
    _log.clear()


def last_error() -> str:
    """llama.cpp's first error since `clear_errors`, for a message."""
    text = _log.get(_ERROR, b"").decode("utf-8", "replace").strip()
    return text or "llama.cpp gave no reason"
