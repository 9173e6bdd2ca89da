"""Muon: orthogonalized momentum (Jordan et al., kellerjordan.github.io/posts/muon).

torch.optim.Muon does the same, but always in bfloat16 and one matrix at a time: on a CPU without
bfloat16 units that costs more than the rest of the step.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

import torch

COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration that moves all singular values towards one."""
ITERATIONS: Final = 5


def orthogonalized(matrices: torch.Tensor) -> torch.Tensor:
    """``matrices`` (n, out, in) with all singular values about one, by Newton-Schulz iteration."""
    a, b, c = COEFFICIENTS
    x: torch.Tensor
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x = matrices if wide else matrices.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """Optimizer for the matrices of a network.

    Args:
        params: matrices to optimize.
        lr: learning rate on AdamW's scale: updates have its usual RMS of 0.2 (arXiv 2502.16982).
        momentum: decay rate of the momentum.
        weight_decay: weight decay, as in AdamW.
        dtype: dtype of the iteration.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        lr: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "dtype": dtype}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update all matrices, those of the same shape together."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                by_shape[parameter.shape].append(parameter)
            for parameters in by_shape.values():
                self._step_together(parameters, group)

    def _step_together(self, parameters: list[torch.nn.Parameter], group: dict[str, Any]) -> None:
        directions = []
        for parameter in parameters:
            if parameter.grad is None:
                raise ValueError("Muon: a parameter without a gradient")
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
            directions.append(parameter.grad.lerp(state["momentum"], group["momentum"]))
        updates = orthogonalized(torch.stack(directions).to(group["dtype"]))
        scale = 0.2 * max(updates.shape[-2:]) ** 0.5
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update.to(parameter.dtype), alpha=-group["lr"] * scale)
