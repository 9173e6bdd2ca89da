"""Logits in llama.cpp's memory."""

import ctypes
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt


def last_logits(context: Any, n_vocab: int) -> npt.NDArray[np.float32]:
    """Logits after the last token that a `llama_context` decoded, (n_vocab,).

    A view, valid until the next decode. It is made for every token, and
    ``np.ctypeslib.as_array`` takes 20 times as long.
    """
    pointer = llama_cpp.llama_get_logits_ith(context, -1)
    row = (ctypes.c_float * n_vocab).from_address(ctypes.addressof(pointer.contents))
    return np.frombuffer(row, np.float32)
