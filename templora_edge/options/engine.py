"""How llama.cpp runs."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from templora_edge.errors import OptionError
from templora_edge.options.base import DEFAULT_MAX_CTX, Base
from templora_edge.options.field import Section, option, require
from templora_edge.options.kinds import KvType
from templora_edge.options.rope import RopeOptions
from templora_edge.options.self_extend import SelfExtendOptions

AUTO: Final[Any] = "auto"
"""Value of ``self_extend`` that chooses groups to fit the context."""


@dataclass(frozen=True, slots=True)
class FixedAdapter:
    """A LoRA adapter in a GGUF file, applied in addition to the temporary one, never trained."""

    path: Path
    scale: float = 1.0
    """Factor of the adapter's output, in addition to alpha / rank."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        require(
            math.isfinite(self.scale),
            f"--lora {self.path}: scale is {self.scale}; expected a finite number",
        )

    def __str__(self) -> str:
        return f"{self.path}:{self.scale:g}"

    @classmethod
    def parse(cls, text: str) -> "FixedAdapter":
        """Parse ``FILE[:SCALE]``; text after the last colon is a scale only if it is a number."""
        name, colon, scale = text.rpartition(":")
        try:
            return cls(Path(name), float(scale)) if colon else cls(Path(text))
        except ValueError:
            return cls(Path(text))


@dataclass(frozen=True, slots=True)
class Capture:
    """The parts of a decoded token that are kept, so that training need not compute them again."""

    layer: int
    """First decoder layer with an adapter, whose input states are kept; 0: they are not."""
    n_tokens: int
    """Number of tokens whose parts are kept: the last ones that made a prediction."""
    products: bool = False
    """Whether the products of all weights from that layer on are kept too."""
    predictions: bool = False
    """Whether the predictions that they make are kept too."""

    @property
    def of_states(self) -> "Capture":
        """The same without products and predictions, which go together."""
        return replace(self, products=False, predictions=False)


@dataclass(frozen=True, slots=True)
class EngineOptions(Section):
    """How llama.cpp runs."""

    n_ctx: int = option(
        "-c",
        "--ctx-size",
        default=0,
        metavar="N",
        min=0,
        help=f"Context in tokens (W); 0: the trained context, at most {DEFAULT_MAX_CTX}.",
    )
    n_threads: int = option(
        "-t",
        "--threads",
        default=0,
        metavar="N",
        min=0,
        help="Threads for llama.cpp; 0: one for each physical core.",
    )
    n_gpu_layers: int | Literal["auto", "all"] = option(
        "-ngl",
        "--n-gpu-layers",
        "--gpu-layers",
        default=AUTO,
        also=(AUTO, "all"),
        metavar="N",
        min=0,
        label="GPU layers",
        help="Layers of the model that a GPU holds: a number, all, or auto: all where llama.cpp "
        "was built for a GPU and finds one; 0: the processor computes alone.",
    )
    n_batch: int = option(
        "-b", "--batch-size", default=512, metavar="N", min=1, help="Tokens decoded in one batch."
    )
    type_k: KvType = option(
        "-ctk", "--cache-type-k", default=KvType.F16, help="Data type of cached keys."
    )
    type_v: KvType = option(
        "-ctv",
        "--cache-type-v",
        default=KvType.F16,
        help="Data type of cached values; quantized types use flash attention.",
    )
    repack: bool | None = option(
        "--repack/--no-repack",
        " /-nr",
        help="Whether to copy weights into llama.cpp's faster layouts, in memory of their own; "
        "default: where that pays (docs/results/speed.md).",
    )
    flash_attn: bool | None = None
    """Whether to use flash attention; None lets llama.cpp choose."""
    lora: tuple[FixedAdapter, ...] = option(
        "--lora",
        default=(),
        metavar="FILE[:SCALE]",
        help="Fixed GGUF adapter to apply in addition to the temporary one; may be repeated.",
    )
    # "auto" until it is resolved
    self_extend: SelfExtendOptions | None = option(
        "--self-extend",
        also=(AUTO,),
        help="Go past the trained context with SelfExtend; auto: choose -gan and -gaw to fit -c.",
    )
    rope: RopeOptions = field(default_factory=RopeOptions)
    shift: bool = False
    """Whether the cache will be shifted, as `KvPolicy.SHIFT` does."""
    swa_full: bool = False
    """Whether sliding-window layers keep every token, so that the cache can be cut anywhere."""
    capture: Capture | None = None
    """The parts of decoded tokens that are kept for training; None: nothing is kept."""

    @property
    def k_shift(self) -> bool:
        """Whether cached keys will be moved to other positions."""
        return self.shift or self.self_extend is not None

    @property
    def chooses_groups(self) -> bool:
        """Whether SelfExtend's groups are still to be chosen."""
        return bool(self.self_extend == AUTO)

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        require(
            not (self.type_v.quantized and self.flash_attn is False),
            f"-ctv {self.type_v}: quantized values need flash attention, which is off",
        )

    def resolve(
        self,
        base: Base,
        n_ctx: int,
        *,
        shift: bool,
        swa_full: bool,
        capture: Capture | None,
    ) -> "EngineOptions":
        """Fill in the open options, for `Options.resolve`; ``n_ctx`` is the context in tokens."""
        return replace(
            self,
            n_ctx=n_ctx,
            self_extend=self._chosen(base, n_ctx),
            repack=base.repacking_pays if self.repack is None else self.repack,
            shift=self.shift or shift,
            swa_full=self.swa_full or swa_full,
            capture=self.capture or capture,
        )

    def _chosen(self, base: Base, n_ctx: int) -> SelfExtendOptions | None:
        if not self.chooses_groups:
            return self.self_extend
        n_trained = base.n_trained(self.rope)
        chosen = SelfExtendOptions.for_length(n_ctx, n_trained)
        if chosen is None:
            raise OptionError(
                f"--self-extend auto: -c {n_ctx} is within the {n_trained} tokens that the model "
                "knows; raise -c to the length of the text, or leave SelfExtend out"
            )
        return chosen
