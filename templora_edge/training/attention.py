"""Attention to cached tokens that are only read: no gradient is computed for them.

Torch's fused attention on CPUs computes one for every key, and takes three times as long.
"""

from typing import Any, Final

import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME: Final = "templora"
"""Name of `attend` among transformers' implementations of attention."""


def attend(
    _module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    *,
    scaling: float,
    softcap: float | None = None,
    **_others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it; the gradient is that of the last T keys and values.

    Args:
        query: (1, heads, T, head size).
        key: (1, key heads, M, head size); those before the last T are cached ones.
        value: like ``key``.
        attention_mask: whether each query attends to each key, (1, 1, T, M) bool.
        scaling: factor of the scores.
        softcap: limit of the scores, Gemma 2's.

    Returns:
        (1, T, heads, head size), and no weights.
    """
    _, n_heads, n_queries, size = query.shape
    n_groups = n_heads // key.shape[1]
    device, dtype = query.device, query.dtype
    if torch.is_autocast_enabled(device.type):
        dtype = torch.get_autocast_dtype(device.type)
    # queries that share a key head are the rows of one product
    queries = (query * scaling).to(dtype).reshape(-1, n_groups * n_queries, size)
    mask = torch.zeros(attention_mask.shape[2:], dtype=dtype, device=device)
    mask = mask.masked_fill(~attention_mask[0, 0], -torch.inf).repeat(n_groups, 1)
    mixed: torch.Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
        queries, key[0].to(dtype), value[0].to(dtype), mask, softcap, n_queries
    )
    return mixed.view(1, n_heads, n_queries, size).transpose(1, 2), None


class _Attention(torch.autograd.Function):
    """softmax(Q Kᵀ + mask) V of each key head; the weights are computed again in backward."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        mask: torch.Tensor,
        softcap: float | None,
        n_new: int,
    ) -> torch.Tensor:
        weights, _ = _weights(queries, keys, mask, softcap)
        mixed = weights @ values
        ctx.save_for_backward(queries, keys, values, mask, mixed)
        ctx.softcap, ctx.n_new = softcap, n_new
        return mixed

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        queries, keys, values, mask, mixed = ctx.saved_tensors
        weights, slope = _weights(queries, keys, mask, ctx.softcap)
        mean = (grad * mixed).sum(-1, keepdim=True)
        scores = (grad @ values.mT).sub_(mean).mul_(weights)
        if slope is not None:
            scores.mul_(slope)
        new = slice(keys.shape[1] - ctx.n_new, None)
        key_grad, value_grad = torch.zeros_like(keys), torch.zeros_like(values)
        key_grad[:, new] = scores[..., new].mT @ queries
        value_grad[:, new] = weights[..., new].mT @ grad
        return scores @ keys, key_grad, value_grad, None, None, None


def _weights(
    queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor, softcap: float | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The softmax of all scores, and the derivative of soft-capping at each score."""
    if softcap is None:
        return torch.baddbmm(mask, queries, keys.mT).softmax(-1), None
    capped = torch.tanh(queries @ keys.mT / softcap)
    return (softcap * capped + mask).softmax(-1), 1 - capped.square()


def _mask(*args: Any, **kwargs: Any) -> torch.Tensor | None:
    """Transformers' mask, also where attention is plainly causal."""
    return sdpa_mask(*args, **kwargs | {"allow_is_causal_skip": False})


ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, _mask)
