"""The output layer and its cross-entropy.

Where llama.cpp has predicted with the same adapter, no logits are computed again: the gradient is a
product of the probabilities that it found and the rows of their ids.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from templora_edge.predictions import Predictions
from templora_edge.training.gguf_layers import MappedTensor


class MappedHead(torch.nn.Module):
    """The output layer, computed in slices of the vocabulary that fit the scratch buffer."""

    def __init__(
        self, source: MappedTensor, bias: torch.Tensor | None, softcap: float | None
    ) -> None:
        super().__init__()
        self.source = source
        self.bias = bias
        self.softcap = softcap

    def slices(self, n_rows: int) -> Iterator[slice]:
        """Slices of ``n_rows`` rows, one dequantized at a time."""
        step = self.source.scratch.n_floats // self.source.shape[1]
        for begin in range(0, n_rows, step):
            yield slice(begin, min(begin + step, n_rows))

    def slope(self, logits: torch.Tensor) -> torch.Tensor:
        """Derivative of ``logits`` with respect to the logits before soft-capping."""
        if self.softcap is None:
            return torch.ones_like(logits)
        return 1 - (logits / self.softcap).square()

    def slice_logits(self, hidden: torch.Tensor, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of one slice, (…, rows) in float32, and its loaded weights."""
        weight = self.source.load(rows)
        logits = (hidden.to(weight.dtype) @ weight.T).float()
        if self.bias is not None:
            logits = logits + self.bias[rows]
        return self._capped(logits), weight

    def logits_of(self, hidden: torch.Tensor, ids: npt.NDArray[Any]) -> torch.Tensor:
        """The logit of one id for each of ``hidden``, (n, width) -> (n,) in float32."""
        logits = (hidden.float() * self.source.gather(ids)).sum(-1)
        if self.bias is not None:
            logits = logits + self.bias[torch.from_numpy(ids).to(self.bias.device)]
        return self._capped(logits)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(…, width) -> (…, n_vocab), float32, without gradient (`cross_entropy` has one)."""
        slices = self.slices(self.source.shape[0])
        with torch.no_grad():
            return torch.cat([self.slice_logits(hidden, rows)[0] for rows in slices], -1)

    def cross_entropy(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean -log softmax(logits)[target], in nats.

        Args:
            hidden: (n, width).
            targets: (n,).
        """
        loss: torch.Tensor = _CrossEntropy.apply(hidden, self, targets)  # type: ignore[no-untyped-call]
        return loss

    def cross_entropy_of(
        self, hidden: torch.Tensor, targets: torch.Tensor, predicted: Predictions
    ) -> torch.Tensor:
        """`cross_entropy` where llama.cpp has predicted with the same adapter.

        Args:
            hidden: (n, width).
            targets: (n,).
            predicted: llama.cpp's predictions, n rows.
        """
        likeliest = predicted.likeliest
        ids, columns = np.unique(predicted.ids, return_inverse=True)
        masses = np.zeros((len(targets), len(ids)), np.float32)
        np.add.at(masses, (predicted.rows, columns), predicted.masses)
        with torch.no_grad():
            device = hidden.device
            probabilities = torch.from_numpy(masses).to(device)
            highest = self.logits_of(hidden, predicted.ids[likeliest])
            # log of the sum over all ids
            log_total = highest - torch.from_numpy(predicted.masses[likeliest]).log().to(device)
            chosen_ids = targets.cpu().numpy()
            chosen = self.logits_of(hidden, chosen_ids)
            loss = (log_total - chosen).mean()
            if self.softcap is not None:
                least = torch.finfo(torch.float32).tiny
                logits = log_total[:, None] + probabilities.clamp(min=least).log()
                probabilities *= self.slope(logits)
            gradient = -self.slope(chosen)[:, None] * self.source.gather(chosen_ids)
            source = self.source.only(ids)
            for rows in self.slices(len(ids)):
                weight = source.load(rows)
                gradient += probabilities[:, rows].to(weight.dtype) @ weight
            gradient /= len(targets)
        # the second term is 0, and has the gradient
        return loss + ((hidden - hidden.detach()) * gradient).sum()

    def _capped(self, logits: torch.Tensor) -> torch.Tensor:
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)


class _CrossEntropy(torch.autograd.Function):
    """Cross-entropy that never holds logits of more than one slice of the vocabulary.

    The gradient is accumulated in the forward pass, as flash attention does with its output: each
    slice is dequantized once, and its logits are freed before the next one is loaded.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, head: MappedHead, targets: torch.Tensor
    ) -> torch.Tensor:
        n, device = len(targets), hidden.device
        learns = ctx.needs_input_grad[0]
        peak = torch.full((n, 1), -torch.inf, device=device)  # largest logit so far
        total = torch.zeros(n, 1, device=device)  # sum of exp(logit - peak)
        expected = torch.zeros(
            hidden.shape, device=device
        )  # sum of exp(logit - peak) * slope * weight
        chosen = torch.zeros(n, device=device)
        for rows in head.slices(head.source.shape[0]):
            logits, weight = head.slice_logits(hidden, rows)
            inside = ((targets >= rows.start) & (targets < rows.stop)).nonzero()[:, 0]
            chosen[inside] = logits[inside, targets[inside] - rows.start]
            new_peak = torch.maximum(peak, logits.amax(-1, keepdim=True))
            shrink = torch.exp(peak - new_peak)
            exponentials = torch.exp(logits - new_peak)
            total = total * shrink + exponentials.sum(-1, keepdim=True)
            if learns:
                if head.softcap is not None:
                    exponentials = exponentials * head.slope(logits)
                expected = expected * shrink + exponentials.to(weight.dtype) @ weight
            peak = new_peak
        if learns:  # softmax - one-hot, times the weights
            wanted = head.source.gather(targets.cpu().numpy()) * head.slope(chosen)[:, None]
            ctx.save_for_backward(((expected / total - wanted) / n).to(hidden.dtype))
        return (total.log() + peak)[:, 0].sub(chosen).mean()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad, None, None
