"""The processor as torch sees it."""

from dataclasses import dataclass

import torch

from templora_edge.options import TrainDtype
from templora_edge.training.precision import choose_dtype


@dataclass(frozen=True, slots=True)
class TorchProcessor:
    """Version, instructions and precision of training on the processor."""

    version: str
    instructions: tuple[str, ...]
    """Capabilities of the processor, by torch's names."""
    precision: TrainDtype
    """Precision of matrix products by default."""

    @classmethod
    def here(cls) -> "TorchProcessor":
        """The installed torch on this machine."""
        found = torch.cpu.get_capabilities()
        bf16 = choose_dtype(TrainDtype.AUTO) == torch.bfloat16
        return cls(
            torch.__version__,
            tuple(sorted(name for name, has in found.items() if has is True)),
            TrainDtype.BF16 if bf16 else TrainDtype.FP32,
        )
