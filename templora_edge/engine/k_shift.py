"""llama.cpp's K-shift and its limits: which cached keys can be moved to other positions."""

import os
from typing import Any, Final

import llama_cpp

from templora_edge.engine.model import Model
from templora_edge.errors import OptionError
from templora_edge.models.gguf_file import GgufFile
from templora_edge.models.rope import Scaling, head_size, n_rotated
from templora_edge.options import KvType, SelfExtendOptions

_ROPE_TYPE_NONE: Final = -1
_ROPE_TYPES_MULTI: Final = (8, 24, 40)
"""M-RoPE, vision, interleaved M-RoPE (llama_rope_type in llama.h)."""
_UNIT: Final = 1e-4
"""Largest difference between a factor and 1 that is due to rounding."""
_HADAMARD: Final = 64
"""llama.cpp rotates quantized keys if the head size is a multiple of this (llama-kv-cache.cpp)."""


def check_k_shift(model: Model, memory: Any, scaling: Scaling, type_k: KvType) -> None:
    """Reject keys that cannot be moved, before any work is done.

    Raises:
        OptionError: the keys cannot be moved; it says why.
    """
    if reason := _model_reason(model, memory, scaling):
        raise OptionError(
            f"{model.path}: {reason}; --kv-policy shift and SelfExtend are not possible, use "
            "--kv-policy reuse without -gan"
        )
    if reason := _type_reason(model.gguf, type_k):
        raise OptionError(
            f"-ctk {type_k}: {reason}; --kv-policy shift and SelfExtend need -ctk f16 here"
        )


def check_length(self_extend: SelfExtendOptions, n_ctx: int, n_trained: int) -> None:
    """Reject a context that does not fit the positions the model was trained on.

    Raises:
        OptionError: the context does not fit; it says how many tokens would.
    """
    group, window = self_extend.group, self_extend.window
    needed = self_extend.n_positions(n_ctx) + group
    if needed > n_trained:
        fits = (n_trained - window - group) * group + window
        raise OptionError(
            f"-c {n_ctx} takes {needed} positions with -gan {group} -gaw {window}; the model knows "
            f"{n_trained} (that is {max(0, fits)} tokens); raise -gan, lower -gaw or -c, or let "
            "--self-extend auto choose"
        )


def _model_reason(model: Model, memory: Any, scaling: Scaling) -> str | None:
    rope_type = llama_cpp.llama_model_rope_type(model.pointer)
    reasons = (
        (
            llama_cpp.llama_model_is_recurrent(model.pointer),
            "its state is recurrent, there are no keys to move",
        ),
        (
            llama_cpp.llama_model_is_hybrid(model.pointer),
            "a part of its state is recurrent and cannot be moved",
        ),
        (rope_type == _ROPE_TYPE_NONE, "it has no rotary positions"),
        (rope_type in _ROPE_TYPES_MULTI, "its positions have several dimensions (M-RoPE)"),
        (
            # build_rope_shift in llama-kv-cache.cpp applies the factor again at every K-shift
            abs(scaling.magnitude - 1) > _UNIT,
            f"its RoPE scaling multiplies keys by {scaling.magnitude:.3f}, and llama.cpp would do "
            "so again whenever they are moved",
        ),
        (
            not llama_cpp.llama_memory_can_shift(memory),
            "llama.cpp cannot move keys in the caches of this architecture",
        ),
    )
    return next((reason for applies, reason in reasons if applies), None)


def _type_reason(base: GgufFile, type_k: KvType) -> str | None:
    """Why keys of this type cannot be moved: llama.cpp would abort, or mix up dimensions."""
    if type_k is KvType.BF16:
        return "llama.cpp cannot rotate BF16"
    if not type_k.quantized:
        return None
    if int(os.environ.get("LLAMA_ATTN_ROT_DISABLE", "0") or 0):
        return "quantized keys cannot be moved with LLAMA_ATTN_ROT_DISABLE in the environment"
    if head_size(base) % _HADAMARD or n_rotated(base) != head_size(base):
        return (
            f"llama.cpp moves quantized keys only if the head size is a multiple of {_HADAMARD} "
            f"and all of it is rotated; here {n_rotated(base)} of {head_size(base)} dimensions are"
        )
    return None
