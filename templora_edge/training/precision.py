"""The precision of matrix products in training."""

from typing import Final

import torch

from templora_edge.options import TrainDevice, TrainDtype

BF16_INSTRUCTIONS: Final = ("avx512_bf16", "amx_bf16", "bf16")
"""Capabilities, as torch names them, of processors that multiply bf16 matrices faster than fp32
ones: 2.3 to 5 times with AVX512-BF16. Processors without them convert every value first."""


def choose_dtype(wanted: TrainDtype, device: TrainDevice = TrainDevice.CPU) -> torch.dtype:
    """The dtype of matrix products; `auto` is bf16 where device and torch both multiply it.

    On ``mps`` it is fp32: older processors of Apple's convert every value of bf16.

    A rule and not a measurement: under load a measurement may choose otherwise, and the same run,
    or a resumed one, must give the same bytes on one kind of processor.
    """
    if wanted is not TrainDtype.AUTO:
        return {TrainDtype.FP32: torch.float32, TrainDtype.BF16: torch.bfloat16}[wanted]
    if device is TrainDevice.MPS:
        return torch.float32
    if device is TrainDevice.CUDA:
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_bf16 else torch.float32
    capabilities = torch.cpu.get_capabilities()
    # without oneDNN (as on macOS) torch has no bf16 product that uses these instructions
    onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    faster = onednn and any(capabilities.get(name, False) for name in BF16_INSTRUCTIONS)
    return torch.bfloat16 if faster else torch.float32
