"""Rotary frequencies as llama.cpp computes them (llama-context.cpp; ggml, ops.cpp: rope_yarn).

transformers computes its own from a config, which cannot say all that a GGUF can; here the metadata
and the factor tensors of the file are followed to the letter.
"""

import math

import numpy as np
import numpy.typing as npt
import torch

from templora_edge.errors import UnsupportedModelError
from templora_edge.gguf_base import GgufBase

Frequencies = tuple[npt.NDArray[np.float64], float]
"""Radians a position for each pair of dimensions, and the factor that cos and sin are scaled by."""


def frequencies(base: GgufBase, n_ctx: int, *, sliding: bool = False) -> Frequencies:
    """Frequencies of the layers with full or with sliding-window attention.

    Args:
        n_ctx: llama.cpp's context; phi3's long factors apply past the original one.

    Raises:
        UnsupportedModelError: a scaling that llama.cpp itself does not know.
    """
    heads = int(base.require("{arch}.attention.head_count"))
    head_dim = int(
        base.get("{arch}.attention.key_length", base.require("{arch}.embedding_length") // heads)
    )
    n_rot = int(base.get("{arch}.rope.dimension_count", head_dim))
    theta = float(base.get("{arch}.rope.freq_base", 10000.0))
    scale = 1.0 / float(base.get("{arch}.rope.scaling.factor", 1.0) or 1.0)
    kind = str(base.get("{arch}.rope.scaling.type", "linear"))
    if sliding:
        # gemma2's sliding layers share the base of the others, gemma3's have their own
        own = theta if base.architecture == "gemma2" else 10000.0
        theta = float(base.get("{arch}.rope.freq_base_swa", own))
        scale = scale if base.architecture == "gemma2" else 1.0
    if kind == "none":
        scale = 1.0
    plain = theta ** (-np.arange(0, n_rot, 2) / n_rot) / _factors(base, n_ctx, n_rot)
    attention = float(base.get("{arch}.rope.scaling.attn_factor", 1.0))
    if kind in ("none", "linear", "longrope"):
        return plain * scale, attention
    if kind != "yarn":
        raise UnsupportedModelError(f"{base.path}: unknown RoPE scaling {kind!r}")
    original = int(base.get("{arch}.rope.scaling.original_context_length", 0)) or int(
        base.require("{arch}.context_length")
    )
    ramp = _yarn_ramp(
        n_rot,
        theta,
        original,
        float(base.get("{arch}.rope.scaling.yarn_beta_fast", 32.0)),
        float(base.get("{arch}.rope.scaling.yarn_beta_slow", 1.0)),
    )
    attention *= _mscale(1 / scale, 1.0)
    if log_multiplier := float(base.get("{arch}.rope.scaling.yarn_log_multiplier", 0.0)):
        attention /= _mscale(1 / scale, log_multiplier)
    return plain * (scale * (1 - ramp) + ramp), attention


def _factors(base: GgufBase, n_ctx: int, n_rot: int) -> npt.NDArray[np.float64]:
    """Divisors per frequency: Llama 3.x's, or phi3's for short or long contexts."""
    original = int(base.get("{arch}.rope.scaling.original_context_length", 0)) or int(
        base.require("{arch}.context_length")
    )
    name = "rope_factors_long.weight" if n_ctx > original else "rope_factors_short.weight"
    for candidate in ("rope_freqs.weight", name):
        if candidate in base.tensors:
            return base.dequantize(candidate).astype(np.float64)
    return np.ones(n_rot // 2)


def _mscale(factor: float, multiplier: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * multiplier * math.log(factor) + 1.0


def _yarn_ramp(
    n_rot: int, theta: float, original: int, beta_fast: float, beta_slow: float
) -> npt.NDArray[np.float64]:
    """Share of extrapolation per frequency (YaRN, arXiv 2309.00071, section 3.2)."""

    def dimension(rotations: float) -> float:
        wavelengths = original / (rotations * 2 * math.pi)
        return n_rot * math.log(wavelengths) / (2 * math.log(theta))

    low = max(0, math.floor(dimension(beta_fast)))
    high = min(n_rot - 1, math.ceil(dimension(beta_slow)))
    pairs = np.arange(n_rot // 2)
    ramp = 1 - np.clip((pairs - low) / max(0.001, high - low), 0, 1)
    return np.asarray(ramp, dtype=np.float64)


class Rope(torch.nn.Module):
    """Stands in for any of transformers' rotary embeddings; one set of frequencies a layer type."""

    def __init__(self, by_layer_type: dict[str, Frequencies]) -> None:
        super().__init__()
        self._tables = {
            name: (torch.from_numpy(values), factor)
            for name, (values, factor) in by_layer_type.items()
        }

    def forward(
        self,
        x: torch.Tensor,
        position_ids: torch.Tensor,
        layer_type: str = "full_attention",
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines, (B, T, n_rot) each, both halves alike."""
        values, factor = self._tables[layer_type]
        angles = position_ids[..., None].double() * values
        doubled = torch.cat((angles, angles), dim=-1)
        return (doubled.cos() * factor).to(x.dtype), (doubled.sin() * factor).to(x.dtype)
