"""`--learning-rate auto`: how much of what was learned helps, by evidence from new text.

A block that was not trained on yet is a test of all that was learned before it: the *slope*, the
derivative of its loss with respect to log(scale) of the adapter, says whether more of the adapter
would help (below 0) or less. The slope is free. The adapter's output is linear in B, so it is the
inner product of B and its gradient, which the update on the block computes anyway.

After each block the scale moves against the slope: hypergradient descent (Baydin et al., arXiv
1703.04782) on a logarithmic scale, with slopes in units of their usual size. The scale multiplies
both what was learned and what later steps of constant size add to it, so it is the learning rate
too. Where the adapter does harm, as when a text becomes another, it falls towards 0.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

RATE: Final = 2e-4
"""Learning rate of the steps that are scaled."""
START: Final = 0.2
"""First scale of a fresh adapter."""
GAIN, FIRST_GAIN = 0.15, 0.4
"""Change of log(scale) for a slope of its usual size; the nth block's is FIRST_GAIN / sqrt(n) while
that is larger."""
TOLERANCE: Final = 0.5
"""Slope, in units of its usual size, at which the scale stays: what is learned also serves blocks
after the next one."""
LARGEST: Final = 2.0
"""Largest step in either direction, in units of the gain."""
HARM, BRAKE = 0.4, 6.0
"""A slope above HARM, in nats per token, is no chance: log(scale) falls by BRAKE times the rest."""
MEMORY: Final = 0.8
"""Share of the past in the usual size after each block."""
OUTLIER: Final = 3.0
"""A slope counts in the usual size with at most so many times that size."""
LEAST: Final = 1e-3
"""Smallest scale, from which it can rise again: an adapter of no effect."""


@dataclass(slots=True)
class Evidence:
    """The scale of the adapter, and what it rests on."""

    scale: float = START
    size: float = 0.0
    """Running mean of the absolute values of cosines, before its bias is corrected."""
    n: int = 0
    """Number of blocks in it."""

    def add(self, slope: float, cosine: float) -> None:
        """Move the scale by the evidence of a new block, before it is trained on.

        Args:
            slope: derivative of the block's loss with respect to log(scale), in nats per token.
            cosine: the same as a cosine, of B and its gradient: its size does not grow with B.
        """
        if cosine == 0 or not (math.isfinite(slope) and math.isfinite(cosine)):
            return
        usual = self.size / (1 - MEMORY**self.n) if self.n else abs(cosine)
        self.n += 1
        self.size = MEMORY * self.size + (1 - MEMORY) * min(abs(cosine), OUTLIER * usual)
        gain = max(GAIN, FIRST_GAIN / math.sqrt(self.n))
        step = gain * max(-LARGEST, min(cosine / usual - TOLERANCE, LARGEST))
        step += BRAKE * max(0.0, slope - HARM)
        self.scale = max(LEAST, self.scale * math.exp(-step))


def output_matrices(model: PeftModel) -> list[torch.nn.Parameter]:
    """The matrices B, in which the adapter's output is linear."""
    return [parameter for name, parameter in model.named_parameters() if "lora_B" in name]


def slope_of(model: PeftModel) -> tuple[float, float]:
    """Slope of the loss whose gradients ``model`` holds, from those of B.

    Returns:
        The slope in nats per token, and as a cosine of B and its gradient; (0, 0) if one of the two
        is 0.
    """
    halves = [
        (parameter.detach(), parameter.grad)
        for parameter in output_matrices(model)
        if parameter.grad is not None
    ]
    slope = float(sum((value * gradient).sum() for value, gradient in halves))
    squares = (float(sum((half**2).sum() for half in side)) for side in zip(*halves, strict=True))
    norms = math.sqrt(math.prod(squares))
    return (slope, slope / norms) if norms else (0.0, 0.0)


def set_scale(model: PeftModel, scale: float) -> None:
    """Multiply the output of the adapter in ``model`` by ``scale``, besides alpha / rank."""
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.set_scale("default", scale)
