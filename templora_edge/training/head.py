"""The output layer and its cross-entropy, over the whole vocabulary or over candidates.

Over candidates, only their rows of the weight are dequantized and multiplied. The mass of all other
ids has the share that llama.cpp found, and a gradient along the mean of the rows that llama.cpp
would have drawn from them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from templora_edge.candidates import Candidates
from templora_edge.training.gguf_layers import MappedTensor

MOST: Final = 1 / 3
"""Share of the vocabulary above which candidates save too little, and all of it is used."""


class MappedHead(torch.nn.Module):
    """The output layer, computed in slices of the vocabulary that fit the scratch buffer."""

    def __init__(
        self, source: MappedTensor, bias: torch.Tensor | None, softcap: float | None
    ) -> None:
        super().__init__()
        self.source = source
        self.bias = bias
        self.softcap = softcap

    def only(self, ids: npt.NDArray[np.int64]) -> "MappedHead":
        """The head of a vocabulary of ``ids`` alone."""
        bias = None if self.bias is None else self.bias[torch.from_numpy(ids)]
        return MappedHead(self.source.only(ids), bias, self.softcap)

    def slices(self) -> Iterator[slice]:
        """Slices of the vocabulary, one dequantized at a time."""
        n_vocab, width = self.source.shape
        step = self.source.scratch.n_floats // width
        for begin in range(0, n_vocab, step):
            yield slice(begin, min(begin + step, n_vocab))

    def slope(self, logits: torch.Tensor) -> torch.Tensor | float:
        """Derivative of ``logits`` with respect to the logits before soft-capping."""
        return 1.0 if self.softcap is None else 1 - (logits / self.softcap) ** 2

    def slice_logits(self, hidden: torch.Tensor, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of one slice, (…, rows) in float32, and its loaded weights."""
        weight = self.source.load(rows)
        logits = (hidden.to(weight.dtype) @ weight.T).float()
        if self.bias is not None:
            logits = logits + self.bias[rows]
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits, weight

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(…, width) -> (…, n_vocab), float32, without gradient (`cross_entropy` has one)."""
        with torch.no_grad():
            return torch.cat([self.slice_logits(hidden, rows)[0] for rows in self.slices()], -1)

    def cross_entropy(
        self, hidden: torch.Tensor, targets: torch.Tensor, candidates: Candidates | None = None
    ) -> torch.Tensor:
        """Mean -log softmax(logits)[target], in nats.

        Args:
            hidden: (n, width).
            targets: (n,).
            candidates: what llama.cpp found probable in the n predictions; None computes all logits
                exactly, and so do more candidates than `MOST` of the vocabulary.
        """
        head, outside = self, None
        if candidates is not None:
            n_vocab = self.source.shape[0]
            used = np.zeros(n_vocab, bool)
            used[candidates.ids] = True
            used[targets.numpy()] = True
            ids = np.flatnonzero(used)
            if len(ids) <= MOST * n_vocab:
                head = self.only(ids)
                places = np.full(n_vocab, -1)
                places[ids] = np.arange(len(ids))
                outside = self._outside(head, candidates, places)
                targets = torch.from_numpy(places)[targets]
        loss: torch.Tensor = _CrossEntropy.apply(hidden, head, targets, outside)  # type: ignore[no-untyped-call]
        return loss

    def _outside(
        self, head: "MappedHead", candidates: Candidates, places: npt.NDArray[np.int64]
    ) -> "_Outside":
        """What ``head``, over the ids at ``places``, leaves out."""
        own = np.zeros((len(candidates), head.source.shape[0]), bool)
        rows = np.repeat(np.arange(len(candidates)), np.diff(candidates.starts))
        own[rows, places[candidates.ids]] = True
        rest = torch.from_numpy(candidates.rest)
        return _Outside(
            rest=rest[:, None],
            own=torch.from_numpy(own),
            mean=self._mean(candidates.samples, rest.sigmoid(), places >= 0),
            count=self.source.shape[0] - head.source.shape[0],
        )

    def _mean(
        self, samples: npt.NDArray[np.int32], weights: torch.Tensor, used: npt.NDArray[np.bool_]
    ) -> torch.Tensor:
        """Mean of the rows of ``samples``, (n, m), by ``weights``, (n,), without ``used`` ids."""
        counts = np.zeros(len(used), np.float32)
        np.add.at(counts, samples, weights.numpy()[:, None])
        counts[used] = 0
        ids = np.flatnonzero(counts)
        shares = torch.from_numpy(counts[ids] / max(counts.sum(), np.finfo(np.float32).tiny))
        return shares @ self.source.gather(ids)


@dataclass(frozen=True, slots=True)
class _Outside:
    """The ids that a head over candidates leaves out."""

    rest: torch.Tensor
    """log of the mass of all ids but a row's own candidates, in units of theirs, (n, 1)."""
    own: torch.Tensor
    """Whether an id of the head is among a row's own candidates, (n, ids of the head)."""
    mean: torch.Tensor
    """Mean of the weight's rows that are left out, each as often as llama.cpp would draw it,
    (width,)."""
    count: int
    """Number of ids left out."""


class _CrossEntropy(torch.autograd.Function):
    """Cross-entropy that never holds logits of more than one slice of the vocabulary.

    The gradient is accumulated in the forward pass, as flash attention does with its output: each
    slice is dequantized once, and its logits are freed before the next one is loaded.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        head: MappedHead,
        targets: torch.Tensor,
        outside: _Outside | None,
    ) -> torch.Tensor:
        n = len(targets)
        learns = ctx.needs_input_grad[0]
        peak = torch.full((n, 1), -torch.inf)  # largest logit so far
        total = torch.zeros(n, 1)  # sum of exp(logit - peak)
        others = torch.zeros(n, 1)  # the same over ids that are not a row's own candidates
        expected = torch.zeros(hidden.shape)  # sum of exp(logit - peak) * slope * weight
        chosen = torch.zeros(n)
        for rows in head.slices():
            logits, weight = head.slice_logits(hidden, rows)
            inside = ((targets >= rows.start) & (targets < rows.stop)).nonzero()[:, 0]
            chosen[inside] = logits[inside, targets[inside] - rows.start]
            new_peak = torch.maximum(peak, logits.amax(-1, keepdim=True))
            shrink = torch.exp(peak - new_peak)
            exponentials = torch.exp(logits - new_peak)
            total = total * shrink + exponentials.sum(-1, keepdim=True)
            if outside is not None:
                foreign = exponentials.masked_fill(outside.own[:, rows], 0)
                others = others * shrink + foreign.sum(-1, keepdim=True)
            if learns:
                if head.softcap is not None:
                    exponentials = exponentials * head.slope(logits)
                expected = expected * shrink + exponentials.to(weight.dtype) @ weight
            peak = new_peak
        if outside is not None:
            own = total - others
            missing = (torch.exp(outside.rest) * own - others).clamp(min=0)
            total = total + missing
            if learns:
                # each of them is taken to have the logit of their mean mass
                typical = missing.log() + peak - math.log(max(1, outside.count))
                cap = math.inf if head.softcap is None else head.softcap
                pull = missing * head.slope(typical.clamp(-cap, cap))
                expected = expected + pull * outside.mean
        if learns:  # softmax - one-hot, times the weights
            wanted = head.source.gather(targets.numpy()) * head.slope(chosen[:, None])
            ctx.save_for_backward(((expected / total - wanted) / n).to(hidden.dtype))
        return (total.log() + peak)[:, 0].sub(chosen).mean()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad, None, None, None
