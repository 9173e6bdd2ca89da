"""The precision that training chooses: by what the processor has, so that it never changes."""

from typing import Any

import pytest
import torch

from templora_edge.options import TrainDtype
from templora_edge.training.precision import choose_dtype


@pytest.mark.parametrize(
    ("capabilities", "onednn", "dtype"),
    [
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, True, torch.float32),
        ({"avx512_f": True, "avx512_bf16": True, "cpu_name": "any"}, True, torch.bfloat16),
        ({"amx_bf16": True}, True, torch.bfloat16),
        ({"neon": True, "bf16": False}, True, torch.float32),  # Raspberry Pi 5
        ({"neon": True, "bf16": True}, True, torch.bfloat16),
        ({"neon": True, "bf16": True}, False, torch.float32),  # Apple Silicon
    ],
)
def test_auto_is_bf16_where_processor_and_torch_multiply_it(
    capabilities: dict[str, Any], onednn: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: onednn)
    assert choose_dtype(TrainDtype.AUTO) == dtype
    assert choose_dtype(TrainDtype.FP32) == torch.float32
    assert choose_dtype(TrainDtype.BF16) == torch.bfloat16
