"""llama.cpp's process-wide state: start-up and log."""

import ctypes
from collections import deque
from functools import cache
from typing import Any

import llama_cpp

_GGML_LOG_LEVEL_ERROR = 4
_GGML_LOG_LEVEL_CONT = 5

_errors: deque[str] = deque(maxlen=4)
"""llama.cpp's last error lines, for our messages; everything else it logs is dropped."""


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _on_log(level: int, text: bytes, _user_data: Any) -> None:
    if level == _GGML_LOG_LEVEL_ERROR:
        _errors.append(text.decode("utf-8", "replace").strip())


@cache
def start() -> None:
    """Initialise llama.cpp once a process, its log under our control."""
    llama_cpp.llama_log_set(_on_log, ctypes.c_void_p())
    llama_cpp.llama_backend_init()


def clear_errors() -> None:
    """Forget earlier error lines."""
    _errors.clear()


def last_error() -> str:
    """llama.cpp's own words on what went wrong since `clear_errors`, for a message."""
    return "; ".join(_errors) or "llama.cpp gave no reason"
