"""Attention and its gradients against transformers' own."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward

from templora_edge.training.attention import attend

SIZE = 16
Tensors = tuple[torch.Tensor, ...]

groups = pytest.mark.parametrize(("n_heads", "n_key_heads"), [(4, 4), (6, 2), (8, 1)])
lengths = pytest.mark.parametrize(("n_queries", "n_keys"), [(24, 24), (24, 70), (2, 2), (1, 70)])
softcaps = pytest.mark.parametrize("softcap", [None, 2.0])


def inputs(n_heads: int, n_key_heads: int, n_queries: int, n_keys: int) -> Tensors:
    """Queries, keys and values, large enough for sharp weights and a soft cap that shows."""
    torch.manual_seed(0)
    return (
        2 * torch.randn(1, n_heads, n_queries, SIZE),
        2 * torch.randn(1, n_key_heads, n_keys, SIZE),
        torch.randn(1, n_key_heads, n_keys, SIZE),
    )


def sees(n_queries: int, n_keys: int, window: int | None) -> torch.Tensor:
    """Whether each of the last queries attends to each key, (1, 1, T, M)."""
    distance = torch.arange(n_keys - n_queries, n_keys)[:, None] - torch.arange(n_keys)[None]
    seen = distance >= 0 if window is None else (distance >= 0) & (distance < window)
    return seen[None, None]


def with_gradients(
    function: Any, tensors: Tensors, mask: torch.Tensor, softcap: float | None
) -> tuple[torch.Tensor, Tensors]:
    """Output of ``function`` and the gradients of queries, keys and values."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    groups = tensors[0].shape[1] // tensors[1].shape[1]
    module = SimpleNamespace(num_key_value_groups=groups, training=False)
    output, _ = function(module, *leaves, mask, scaling=SIZE**-0.5, softcap=softcap)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    (output.float() * weights).sum().backward()
    gradients = [leaf.grad for leaf in leaves]
    assert all(gradient is not None for gradient in gradients)
    return output.detach(), tuple(gradient for gradient in gradients if gradient is not None)


def reference(
    tensors: Tensors, mask: torch.Tensor, softcap: float | None
) -> tuple[torch.Tensor, Tensors]:
    added = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
    return with_gradients(eager_attention_forward, tensors, added, softcap)


def assert_close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-4) -> None:
    """Relative to the largest entry: those that nearly cancel have no digits left."""
    scale = theirs.abs().max().item()
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * scale)


@groups
@lengths
@softcaps
@pytest.mark.parametrize("window", [None, 9])
def test_output_and_gradients(
    n_heads: int,
    n_key_heads: int,
    n_queries: int,
    n_keys: int,
    softcap: float | None,
    window: int | None,
) -> None:
    tensors = inputs(n_heads, n_key_heads, n_queries, n_keys)
    mask = sees(n_queries, n_keys, window)
    ours, gradients = with_gradients(attend, tensors, mask, softcap)
    theirs, expected = reference(tensors, mask, softcap)
    assert ours.shape == (1, n_queries, n_heads, SIZE)
    assert_close(ours, theirs)
    assert_close(gradients[0], expected[0])
    for mine, other in zip(gradients[1:], expected[1:], strict=True):
        assert_close(mine[:, :, -n_queries:], other[:, :, -n_queries:])
        assert not mine[:, :, :-n_queries].any(), "cached keys have no gradient"
        if n_queries < n_keys:
            assert other[:, :, :-n_queries].any(), "nothing attends to them: an empty test"


def test_the_soft_cap_and_the_window_matter() -> None:
    """What the comparison above varies is no accident."""
    tensors = inputs(6, 2, 24, 70)
    outputs = [
        with_gradients(attend, tensors, sees(24, 70, window), softcap)[0]
        for window in (None, 9)
        for softcap in (None, 2.0)
    ]
    for i, one in enumerate(outputs):
        for other in outputs[:i]:
            assert (one - other).abs().max() > 0.1


def test_keys_that_need_no_gradient() -> None:
    """As where the adapter is on the MLP alone, in the first layer that carries it."""
    query, key, value = inputs(6, 2, 24, 70)
    mask = sees(24, 70, None)
    expected = with_gradients(attend, (query, key, value), mask, None)[1][0]
    query.requires_grad_()
    output, weights = attend(torch.nn.Module(), query, key, value, mask, scaling=SIZE**-0.5)
    assert weights is None
    factors = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    (output * factors).sum().backward()  # type: ignore[no-untyped-call]
    assert query.grad is not None
    assert torch.equal(query.grad, expected)
    assert key.grad is value.grad is None


@groups
@softcaps
def test_bfloat16_is_close(n_heads: int, n_key_heads: int, softcap: float | None) -> None:
    tensors = inputs(n_heads, n_key_heads, 24, 70)
    mask = sees(24, 70, None)
    with torch.autocast("cpu", torch.bfloat16):
        ours, gradients = with_gradients(attend, tensors, mask, softcap)
    theirs, expected = reference(tensors, mask, softcap)
    assert ours.dtype == torch.bfloat16
    pairs = [(ours.float(), theirs)]
    for mine, other in zip(gradients, expected, strict=True):
        assert mine.dtype == torch.float32
        pairs.append((mine[:, :, -24:], other[:, :, -24:]))
    for mine, other in pairs:
        assert (mine - other).norm() <= 0.02 * other.norm()
