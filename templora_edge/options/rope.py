"""Options of RoPE scaling."""

from dataclasses import dataclass

from templora_edge.options.field import Section, option
from templora_edge.options.kinds import RopeScaling


@dataclass(frozen=True, slots=True)
class RopeOptions(Section):
    """Changes to the model's rotary embedding; None keeps the model's own value.

    Names are llama.cpp's. The options apply to layers with full attention; sliding-window layers
    keep their own base and scale, as in llama.cpp.
    """

    scaling: RopeScaling | None = option(
        "--rope-scaling", help="RoPE scaling; default: the model's own."
    )
    freq_base: float | None = option(
        "--rope-freq-base",
        metavar="X",
        above=0,
        help="RoPE base frequency; default: the model's own.",
    )
    freq_scale: float | None = option(
        "--rope-freq-scale",
        metavar="X",
        above=0,
        help="Factor applied to positions; 0.25 fits four times the trained context; default: the "
        "model's own.",
    )
    yarn_orig_ctx: int | None = option(
        "--yarn-orig-ctx",
        metavar="N",
        above=0,
        help="YaRN: trained context before scaling; default: the model's own.",
    )
    yarn_ext_factor: float | None = option(
        "--yarn-ext-factor",
        metavar="X",
        min=0,
        help="YaRN: share of extrapolation; 0: interpolation only; default: the model's own.",
    )
    yarn_attn_factor: float | None = option(
        "--yarn-attn-factor",
        metavar="X",
        min=0,
        help="YaRN: scale of attention, used only with --yarn-ext-factor 0; default: the model's "
        "own.",
    )
    yarn_beta_slow: float | None = option(
        "--yarn-beta-slow",
        metavar="X",
        min=0,
        help="YaRN: interpolate dimensions that turn less often than this; default: the model's "
        "own, or 1.",
    )
    yarn_beta_fast: float | None = option(
        "--yarn-beta-fast",
        metavar="X",
        min=0,
        help="YaRN: leave dimensions that turn more often than this unscaled; default: the "
        "model's own, or 32.",
    )
