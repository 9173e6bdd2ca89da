"""Rotary frequencies as llama.cpp computes them (llama-context.cpp; ggml, ops.cpp: rope_yarn).

transformers computes its own from a config, which cannot express everything a GGUF can. This module
follows the file's metadata and factor tensors, and the user's options, exactly.
"""

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from templora_edge.errors import UnsupportedModelError
from templora_edge.models.gguf_file import GgufFile
from templora_edge.models.heads import Heads
from templora_edge.options import RopeOptions, RopeScaling

Frequencies = tuple[npt.NDArray[np.float64], float]
"""Radians per position for each pair of dimensions, and the factor of cosines and sines."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """The scaling in effect, as in llama.cpp's context."""

    theta: float
    """RoPE base frequency."""
    scale: float
    """Factor of positions."""
    extrapolation: float
    """YaRN's ext_factor."""
    attention: float
    """Factor of cosines and sines, before ggml's own factor for YaRN."""
    n_trained: int
    """Number of positions the model was trained on, after scaling."""

    @classmethod
    def of(cls, base: GgufFile, options: RopeOptions) -> Self:
        """The model's own scaling, changed by ``options``.

        Raises:
            ModelFileError: the file does not say what the trained context is.
            UnsupportedModelError: llama.cpp does not know the scaling.
        """
        kind = str(options.scaling or base.get("{arch}.rope.scaling.type", "linear"))
        if kind not in (*RopeScaling, "longrope"):
            raise UnsupportedModelError(f"{base.path}: unknown RoPE scaling {kind!r}")
        factor = base.get("{arch}.rope.scaling.factor", base.get("{arch}.rope.scale_linear"))
        trained = 1.0 / float(factor or 1.0)
        scale = options.freq_scale or trained
        if kind == RopeScaling.NONE:
            scale = 1.0
        extrapolation = options.yarn_ext_factor
        if extrapolation is None:
            extrapolation = float(base.get("{arch}.rope.scaling.yarn_ext_factor", -1.0))
        if extrapolation < 0:
            extrapolation = 1.0 if kind == RopeScaling.YARN else 0.0
        attention = options.yarn_attn_factor
        if attention is None:
            attention = float(base.get("{arch}.rope.scaling.yarn_attn_factor", 1.0))
        if extrapolation:
            log_multiplier = float(base.get("{arch}.rope.scaling.yarn_log_multiplier", 0.0))
            attention = _mscale(1 / scale, 1.0) / _mscale(1 / scale, log_multiplier)
            attention /= 1 - 0.1 * math.log(scale)
        context = int(base.require("{arch}.context_length"))
        return cls(
            theta=options.freq_base or float(base.get("{arch}.rope.freq_base", 10000.0)),
            scale=scale,
            extrapolation=extrapolation,
            attention=attention * float(base.get("{arch}.rope.scaling.attn_factor", 1.0)),
            n_trained=max(1, round(context * trained / scale)),
        )

    @property
    def magnitude(self) -> float:
        """Factor of cosines and sines, and thus of keys and queries."""
        return self.attention * (1 - 0.1 * math.log(self.scale) if self.extrapolation else 1.0)


def frequencies(
    base: GgufFile, n_ctx: int, options: RopeOptions, *, sliding: bool = False
) -> Frequencies:
    """Rotary frequencies of the layers with full or sliding-window attention.

    Args:
        base: the model.
        n_ctx: llama.cpp's context in tokens; phi3's long factors apply past the original context.
        options: changes to the model's own scaling.
        sliding: whether the layers have sliding-window attention.

    Raises:
        UnsupportedModelError: llama.cpp does not know the scaling.
    """
    n_rot = n_rotated(base)
    scaling = Scaling.of(base, options)
    if sliding:  # theta and scale are the model's own
        own = Scaling.of(base, RopeOptions())
        # gemma2's sliding layers share theta and scale with the others, gemma3's have their own
        shares = base.architecture == "gemma2"
        theta = float(base.get("{arch}.rope.freq_base_swa", own.theta if shares else 10000.0))
        scaling = replace(scaling, theta=theta, scale=own.scale if shares else 1.0)
    theta, scale = scaling.theta, scaling.scale
    plain = theta ** (-np.arange(0, n_rot, 2) / n_rot) / _factors(base, n_ctx, n_rot)
    if not scaling.extrapolation:
        return plain * scale, scaling.magnitude
    original = options.yarn_orig_ctx or _original_context(base)
    beta_fast, beta_slow = options.yarn_beta_fast, options.yarn_beta_slow
    if beta_fast is None:
        beta_fast = float(base.get("{arch}.rope.scaling.yarn_beta_fast", 32.0))
    if beta_slow is None:
        beta_slow = float(base.get("{arch}.rope.scaling.yarn_beta_slow", 1.0))
    ramp = _yarn_ramp(n_rot, theta, original, beta_fast, beta_slow) * scaling.extrapolation
    return plain * (scale * (1 - ramp) + ramp), scaling.magnitude


def head_size(base: GgufFile) -> int:
    """Number of dimensions of a key.

    Raises:
        ModelFileError: the model has no attention heads.
    """
    base.require("{arch}.attention.head_count")
    return Heads.of(base).key_length


def n_rotated(base: GgufFile) -> int:
    """Number of dimensions of a key that are rotated."""
    return int(base.get("{arch}.rope.dimension_count", head_size(base)))


def _original_context(base: GgufFile) -> int:
    return int(base.get("{arch}.rope.scaling.original_context_length", 0)) or int(
        base.require("{arch}.context_length")
    )


def _factors(base: GgufFile, n_ctx: int, n_rot: int) -> npt.NDArray[np.float64]:
    """Divisors of the frequencies: Llama 3.x's, or phi3's for short or long contexts."""
    long = n_ctx > _original_context(base)
    name = "rope_factors_long.weight" if long else "rope_factors_short.weight"
    for candidate in ("rope_freqs.weight", name):
        if candidate in base.tensors:
            return base.dequantize(candidate).astype(np.float64)
    return np.ones(n_rot // 2)


def _mscale(factor: float, multiplier: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * multiplier * math.log(factor) + 1.0


def _yarn_ramp(
    n_rot: int, theta: float, original: int, beta_fast: float, beta_slow: float
) -> npt.NDArray[np.float64]:
    """Share of extrapolation of each frequency (YaRN, arXiv 2309.00071, section 3.2)."""

    def dimension(rotations: float) -> float:
        wavelengths = original / (rotations * 2 * math.pi)
        return n_rot * math.log(wavelengths) / (2 * math.log(theta))

    low = max(0, math.floor(dimension(beta_fast)))
    high = min(n_rot - 1, math.ceil(dimension(beta_slow)))
    pairs = np.arange(n_rot // 2)
    ramp = 1 - np.clip((pairs - low) / max(0.001, high - low), 0, 1)
    return np.asarray(ramp, dtype=np.float64)
