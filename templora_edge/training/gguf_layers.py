"""Frozen layers whose weights stay quantized in the mapped GGUF and are dequantized on use.

The pages are shared with llama.cpp's mapping of the same file. Dequantized weights live in scratch
buffers that later layers overwrite, so autograd must not keep them: backward dequantizes again.
"""

from collections.abc import Iterator
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import torch

from templora_edge.training.dequantize import Blocks, Dequantizer


class Scratch:
    """Two buffers that hold dequantized weights in turn, in the compute dtype.

    There are two because backward begins with the matrices that forward ended with: when layers are
    recomputed, the up and down projections are still loaded.
    """

    def __init__(self, n_floats: int, dtype: torch.dtype, n_threads: int) -> None:
        self.n_floats = n_floats
        self.dtype = dtype
        # ((address of the quantized rows, number of rows), their weights)
        self._older = ((0, 0), torch.empty(n_floats, dtype=dtype))
        self._newer = ((0, 0), torch.empty(n_floats, dtype=dtype))
        self._dequantizer = Dequantizer(n_threads)

    def load(self, blocks: Blocks, kind: gguf.GGMLQuantizationType, width: int) -> torch.Tensor:
        """Dequantize rows to (n, width); valid until two other tensors are loaded."""
        n = blocks.shape[0]
        wanted = (blocks.ctypes.data, n)
        if self._older[0] == wanted:
            self._older, self._newer = self._newer, self._older
        held, buffer = self._newer
        if held != wanted:
            held, buffer = self._older
            self._dequantizer.rows(blocks, kind, buffer[: n * width].view(n, width))
            self._older, self._newer = self._newer, (wanted, buffer)
        return buffer[: n * width].view(n, width)

    def load_new(self, blocks: Blocks, kind: gguf.GGMLQuantizationType, width: int) -> torch.Tensor:
        """Dequantize rows into a new float32 tensor, (n, width)."""
        return self._dequantizer.rows(blocks, kind, torch.empty(blocks.shape[0], width))


class MappedTensor:
    """A matrix of the base, or some of its rows, as stored in the file."""

    def __init__(
        self, tensor: gguf.ReaderTensor, scratch: Scratch, rows: slice = slice(None)
    ) -> None:
        self.kind = tensor.tensor_type
        n_rows = int(tensor.shape[1])
        self.blocks: Blocks = tensor.data.reshape(n_rows, -1).view(np.uint8)[rows]
        self.shape = (self.blocks.shape[0], int(tensor.shape[0]))  # (out, in)
        self.scratch = scratch

    def load(self, rows: slice = slice(None)) -> torch.Tensor:
        """``rows`` in the compute dtype, (n, in); valid until two other tensors are loaded."""
        return self.scratch.load(self.blocks[rows], self.kind, self.shape[1])

    def gather(self, indices: npt.NDArray[np.int64]) -> torch.Tensor:
        """The rows at ``indices`` in float32, (n, in)."""
        return self.scratch.load_new(self.blocks[indices], self.kind, self.shape[1])


class MappedLinear(torch.nn.Linear):
    """A frozen linear layer on a `MappedTensor`.

    Args:
        source: the weight, (out, in).
        bias: (out,) or None.
        order: the file's rows as indices of transformers' rows, if llama.cpp reorders them.
        fixed: the layer's fixed adapters joined, A (r, in) and B (out, r) in the compute dtype,
            with scales in B and rows in the file's order; None if there are none.
    """

    def __init__(
        self,
        source: MappedTensor,
        bias: torch.Tensor | None,
        order: npt.NDArray[np.intp] | None = None,
        fixed: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> None:
        n_out, n_in = source.shape
        super().__init__(n_in, n_out, bias=False, device="meta")
        # PEFT puts adapters on the device of `weight`: one CPU element that claims the full shape.
        self.weight = torch.nn.Parameter(torch.zeros(1).expand(n_out, n_in), requires_grad=False)
        self.source = source
        self.fixed = fixed
        self.order = None if order is None else torch.from_numpy(order)
        self.inverse = None if order is None else torch.from_numpy(np.argsort(order))
        if bias is not None:
            self.bias = torch.nn.Parameter(bias, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, in) -> (…, out), in the compute dtype."""
        y: torch.Tensor = _Matmul.apply(x, self)  # type: ignore[no-untyped-call]
        return y if self.bias is None else y + self.bias.to(y.dtype)


class _Matmul(torch.autograd.Function):
    """x Wᵀ with a W that is dequantized only while it is used."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: MappedLinear) -> torch.Tensor:
        ctx.layer, ctx.dtype = layer, x.dtype
        weight = layer.source.load()
        x = x.to(weight.dtype)
        y = x @ weight.T
        if layer.fixed is not None:
            a, b = layer.fixed
            y += x @ a.T @ b.T
        return y if layer.inverse is None else y[..., layer.inverse]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        layer: MappedLinear = ctx.layer
        weight = layer.source.load()
        ordered = (grad if layer.order is None else grad[..., layer.order]).to(weight.dtype)
        result = ordered @ weight
        if layer.fixed is not None:
            a, b = layer.fixed
            result += ordered @ b @ a
        return result.to(ctx.dtype), None


class MappedEmbedding(torch.nn.Module):
    """Token embeddings whose rows are dequantized on lookup."""

    def __init__(self, source: MappedTensor, scale: float = 1.0) -> None:
        super().__init__()
        self.source = source
        self.scale = scale

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(B, T) -> (B, T, width), float32."""
        rows = self.source.gather(ids.reshape(-1).numpy())
        return (rows * self.scale).view(*ids.shape, -1)


class MappedHead(torch.nn.Module):
    """The output layer, computed in slices of the vocabulary that fit the scratch buffer."""

    def __init__(
        self, source: MappedTensor, bias: torch.Tensor | None, softcap: float | None
    ) -> None:
        super().__init__()
        self.source = source
        self.bias = bias
        self.softcap = softcap

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

    def cross_entropy(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean -log softmax(logits)[target], in nats; hidden (n, width), targets (n,)."""
        loss: torch.Tensor = _CrossEntropy.apply(hidden, self, targets)  # type: ignore[no-untyped-call]
        return loss


class _CrossEntropy(torch.autograd.Function):
    """Cross-entropy that never holds logits of more than one slice of the vocabulary.

    The gradient is accumulated in the forward pass, as flash attention does with its output: each
    slice is dequantized once, and its logits are freed before the next one is loaded.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, head: MappedHead, targets: torch.Tensor
    ) -> torch.Tensor:
        n = len(targets)
        learns = ctx.needs_input_grad[0]
        peak = torch.full((n, 1), -torch.inf)  # largest logit so far
        total = torch.zeros(n, 1)  # sum of exp(logit - peak)
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
            if learns:
                slope = exponentials * head.slope(logits)
                expected = expected * shrink + slope.to(weight.dtype) @ weight
            peak = new_peak
        if learns:  # softmax - one-hot, times the weights
            wanted = head.source.gather(targets.numpy()) * head.slope(chosen[:, None])
            ctx.save_for_backward(((expected / total - wanted) / n).to(hidden.dtype))
        return (total.log() + peak)[:, 0].sub(chosen).mean()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad, None, None
