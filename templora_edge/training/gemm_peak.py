"""The speed of a device's matrix products in training's precision, measured in a process.

    python -m templora_edge.training.gemm_peak {cpu,mps,cuda} {auto,fp32,bf16} THREADS

prints one line of JSON: dtype, flop_per_s.
"""

import json
import sys
import time
from typing import Final

import torch

from templora_edge.options import TrainDevice, TrainDtype
from templora_edge.training.device import synchronize
from templora_edge.training.precision import choose_dtype

SIZE: Final = 2048
"""Rows and columns of the matrices: large enough that a product runs at its peak."""
N_PRODUCTS: Final = 8
"""Number of products, of which the fastest counts: load can only slow one down."""


def gemm_peak(dtype: torch.dtype, device: torch.device) -> float:
    """Floating-point operations a second of a product of two matrices; a multiply-add is two."""
    left, right = (torch.full((SIZE, SIZE), 0.5, dtype=dtype, device=device) for _ in range(2))
    seconds = []
    with torch.inference_mode():
        for _ in range(N_PRODUCTS):
            synchronize(device)
            begun = time.perf_counter()
            torch.mm(left, right)
            synchronize(device)
            seconds.append(time.perf_counter() - begun)
    return 2 * SIZE**3 / min(seconds)


def main() -> None:
    """Measure with the device, precision and number of threads in the arguments."""
    device, wanted, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    dtype = choose_dtype(TrainDtype(wanted), TrainDevice(device))
    peak = gemm_peak(dtype, torch.device(device))
    found = {"dtype": str(dtype).removeprefix("torch."), "flop_per_s": peak}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
