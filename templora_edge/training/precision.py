"""The precision of matrix products in training, by a short measurement."""

import math
import time
from typing import Final

import torch

from templora_edge.options import TrainDtype

ROUNDS: Final = 20
"""Products in each precision that `choose_dtype` times: enough for a resumed job, which chooses
again, to choose the same."""


def choose_dtype(wanted: TrainDtype) -> torch.dtype:
    """The dtype of matrix products; `auto` is bf16 if it measures more than 1.5 times as fast."""
    if wanted is not TrainDtype.AUTO:
        return {TrainDtype.FP32: torch.float32, TrainDtype.BF16: torch.bfloat16}[wanted]
    seconds = dict.fromkeys((torch.float32, torch.bfloat16), math.inf)
    factors = {
        dtype: (torch.ones(256, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype))
        for dtype in seconds
    }
    for _ in range(ROUNDS):
        for dtype, (a, b) in factors.items():  # in turn, so that other load slows both alike
            begun = time.perf_counter()
            torch.mm(a, b)
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - begun)
    faster = seconds[torch.float32] > 1.5 * seconds[torch.bfloat16]
    return torch.bfloat16 if faster else torch.float32
