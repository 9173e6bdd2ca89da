"""llama.cpp's process-wide state: start-up and log."""

import ctypes
from functools import cache
from typing import Final

import llama_cpp

_ERROR: Final = 4
"""ggml.h, GGML_LOG_LEVEL_ERROR."""

_log: dict[int, bytes] = {}
"""The first line that llama.cpp has logged since `clear_errors`, by level: the cause."""

# No Python code may run in a callback: handlers of signals run between any two of its steps, and
# ctypes drops what they raise there, so that Ctrl-C would be lost. Hence a function of C's, which
# takes two arguments and leaves the third, user_data, to the caller.
_sink = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p)(_log.setdefault)


@cache
def start() -> None:
    """Initialise llama.cpp once a process, its log under our control."""
    callback = ctypes.cast(_sink, llama_cpp.llama_log_callback)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p())
    llama_cpp.llama_backend_init()


def clear_errors() -> None:
    """Forget earlier lines."""
    _log.clear()


def last_error() -> str:
    """llama.cpp's own words on what went wrong since `clear_errors`, for a message."""
    text = _log.get(_ERROR, b"").decode("utf-8", "replace").strip()
    return text or "llama.cpp gave no reason"
