"""Frozen layers whose weights stay quantized in the mapped GGUF and are dequantized on use.

The pages are shared with llama.cpp's mapping of the same file. Dequantized weights live in scratch
buffers that later layers overwrite, so autograd must not keep them: backward dequantizes again.
"""

from copy import copy
from typing import Any, Final

import gguf
import numpy as np
import numpy.typing as npt
import torch

from templora_edge.training.dequantize import Blocks, Dequantizer

CPU: Final = torch.device("cpu")


class Scratch:
    """Two buffers that hold dequantized weights in turn, in the compute dtype.

    There are two because backward begins with the matrices that forward ended with: when layers are
    recomputed, the up and down projections are still loaded.

    The processor dequantizes for every device, which then gets a copy.
    """

    def __init__(
        self, n_floats: int, dtype: torch.dtype, n_threads: int, device: torch.device = CPU
    ) -> None:
        self.n_floats = n_floats
        self.dtype = dtype
        self.device = device
        # (quantized rows, their weights); rows that are held keep their address to themselves
        nothing: Blocks = np.empty((0, 0), np.uint8)
        self._older = (nothing, torch.empty(n_floats, dtype=dtype))
        self._newer = (nothing, torch.empty(n_floats, dtype=dtype))
        self._dequantizer = Dequantizer(n_threads)

    def load(self, blocks: Blocks, kind: gguf.GGMLQuantizationType, width: int) -> torch.Tensor:
        """Dequantize rows to (n, width); valid until two other tensors are loaded."""
        n = blocks.shape[0]
        if _same(self._older[0], blocks):
            self._older, self._newer = self._newer, self._older
        held, buffer = self._newer
        if not _same(held, blocks):
            held, buffer = self._older
            self._dequantizer.rows(blocks, kind, buffer[: n * width].view(n, width))
            self._older, self._newer = self._newer, (blocks, buffer)
        # a copy is made before this returns, as the buffer is not pinned
        return buffer[: n * width].view(n, width).to(self.device)

    def load_new(
        self,
        blocks: Blocks,
        kind: gguf.GGMLQuantizationType,
        width: int,
        dtype: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        """Dequantize rows into a new tensor, (n, width)."""
        out = torch.empty(blocks.shape[0], width, dtype=dtype)
        return self._dequantizer.rows(blocks, kind, out).to(self.device)


def _same(a: Blocks, b: Blocks) -> bool:
    """Whether two views are the same rows of the same memory."""
    return a.ctypes.data == b.ctypes.data and a.shape == b.shape


class MappedTensor:
    """A matrix of the base, or some of its rows, as stored in the file."""

    def __init__(
        self,
        tensor: gguf.ReaderTensor,
        scratch: Scratch,
        rows: slice = slice(None),
        *,
        dense: bool = False,
    ) -> None:
        """Take ``rows`` of ``tensor``, whose dequantized weights are kept if ``dense``.

        On any device but the processor they always are.
        """
        self.name = tensor.name
        self.rows = rows
        self.kind = tensor.tensor_type
        n_rows = int(tensor.shape[1])
        self.blocks: Blocks = tensor.data.reshape(n_rows, -1).view(np.uint8)[rows]
        self.shape = (self.blocks.shape[0], int(tensor.shape[0]))  # (out, in)
        self.scratch = scratch
        self._is_dense = dense or scratch.device.type != "cpu"
        self._dense: torch.Tensor | None = None

    def load(self, rows: slice = slice(None)) -> torch.Tensor:
        """``rows`` in the compute dtype, (n, in); valid until two other tensors are loaded."""
        if self._is_dense:
            if self._dense is None:
                self._dense = self.scratch.load_new(
                    self.blocks, self.kind, self.shape[1], self.scratch.dtype
                )
            return self._dense[rows]
        return self.scratch.load(self.blocks[rows], self.kind, self.shape[1])

    def only(self, indices: npt.NDArray[np.integer]) -> "MappedTensor":
        """A tensor of the rows at ``indices``, copied as they are stored."""
        part = copy(self)
        part._is_dense = False  # the kept weights are those of all rows
        part.blocks = self.blocks[indices]
        part.shape = (len(indices), self.shape[1])
        return part

    def gather(self, indices: npt.NDArray[np.integer]) -> torch.Tensor:
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
        # PEFT puts adapters on the device of `weight`: one element that claims the full shape.
        device = source.scratch.device
        element = torch.zeros(1, device=device)
        self.weight = torch.nn.Parameter(element.expand(n_out, n_in), requires_grad=False)
        self.source = source
        self.product: torch.Tensor | None = None
        """What llama.cpp computed for the next pass, (…, out) in the file's order, without bias and
        adapters; None: it is computed here."""
        self.keeps_product = False
        """Whether it stays for a second pass, when layers are recomputed in backward."""
        self.fixed = None if fixed is None else (fixed[0].to(device), fixed[1].to(device))
        self.order = self.inverse = None
        if order is not None:
            self.order = torch.from_numpy(order).to(device)
            self.inverse = torch.from_numpy(np.argsort(order)).to(device)
        if bias is not None:
            self.bias = torch.nn.Parameter(bias.to(device), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, in) -> (…, out), in the compute dtype."""
        y: torch.Tensor = _Matmul.apply(x, self)  # type: ignore[no-untyped-call]
        return y if self.bias is None else y + self.bias.to(y.dtype)


class _Matmul(torch.autograd.Function):
    """x Wᵀ with a W that is dequantized only while it is used."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: MappedLinear) -> torch.Tensor:
        ctx.layer, ctx.dtype = layer, x.dtype
        x = x.to(layer.source.scratch.dtype)
        if layer.product is None:
            y = x @ layer.source.load().T
        else:  # a tensor of its own, as autograd notes in it where it comes from
            y = layer.product.to(x.dtype).view_as(layer.product)
            if not layer.keeps_product:
                layer.product = None
        if layer.fixed is not None:
            a, b = layer.fixed
            y = y + x @ a.T @ b.T
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
        rows = self.source.gather(ids.reshape(-1).cpu().numpy())
        return (rows * self.scale).view(*ids.shape, -1)
