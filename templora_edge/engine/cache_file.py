"""The file of a KV cache: its cells as llama.cpp writes them, and how SelfExtend grouped them."""

import ctypes
import os
from pathlib import Path
from typing import Any, Final

import llama_cpp

from templora_edge.engine import backend
from templora_edge.errors import EngineError, OutputError

_SEQUENCE: Final = 0
_Pair = llama_cpp.llama_token * 2


def write_cache(context: Any, path: Path, positions: tuple[int, int]) -> None:
    """Write the cells of a `llama_context` to ``path``, with the state of `Positions`.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    backend.clear_errors()
    n_bytes = llama_cpp.llama_state_seq_save_file(
        context, os.fsencode(path), _SEQUENCE, _Pair(*positions), len(positions)
    )
    # llama.cpp does not look at errors when it closes the file
    if not n_bytes or path.stat().st_size != n_bytes:
        raise OutputError(
            f"{path.parent}: the KV cache cannot be written there ({backend.last_error()}); free "
            "some storage"
        )


def read_cache(context: Any, path: Path) -> tuple[int, int]:
    """Fill an empty `llama_context` with the cells in ``path``; return the state of `Positions`.

    Where cells were moved or dropped, they lie closer together than before, in the same order.

    Raises:
        EngineError: the file is damaged, or of another model or context.
    """
    backend.clear_errors()
    positions, n = _Pair(), ctypes.c_size_t()
    n_bytes = llama_cpp.llama_state_seq_load_file(
        context, os.fsencode(path), _SEQUENCE, positions, len(positions), ctypes.byref(n)
    )
    if not n_bytes or n.value != len(positions):
        raise EngineError(f"{path}: not the KV cache of this model ({backend.last_error()})")
    return positions[0], positions[1]
