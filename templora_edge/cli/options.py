"""Flags that commands share: one name, one meaning, one help text."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import wraps
from glob import escape
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from templora_edge.options import FixedAdapter, KvPolicy, KvType, Targets, TrainDtype
from templora_edge.positions import RopeOptions, RopeScaling, SelfExtendOptions
from templora_edge.presets import Preset

DEFAULT_NEIGHBOURS: Final = 512
"""Default of -gaw, as in llama.cpp."""

AdapterOut = Annotated[
    Path | None,
    typer.Option("--adapter-out", metavar="FILE", help="Keep the last adapter as a GGUF."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]


class SelfExtendMode(StrEnum):
    """Values of --self-extend."""

    AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class SessionFlags:
    """What describes a `TempLora` session."""

    model: Annotated[
        Path | None,
        typer.Option("-m", "--model", metavar="FILE", help="GGUF model; default: the bundled one."),
    ] = None
    ctx_size: Annotated[
        int,
        typer.Option(
            "-c",
            "--ctx-size",
            min=0,
            metavar="N",
            help="Context in tokens (W); 0: the trained one, at most 4096.",
        ),
    ] = 0
    threads: Annotated[
        int,
        typer.Option(
            "-t", "--threads", min=0, metavar="N", help="Cores for llama.cpp; 0: all physical ones."
        ),
    ] = 0
    threads_train: Annotated[
        int,
        typer.Option(
            "--threads-train", min=0, metavar="N", help="Cores for training; 0: as many as -t."
        ),
    ] = 0
    batch_size: Annotated[
        int,
        typer.Option("-b", "--batch-size", min=1, metavar="N", help="Tokens decoded at a time."),
    ] = 512
    block: Annotated[
        int | None,
        typer.Option(
            "--block",
            min=1,
            metavar="N",
            help="Tokens between two updates (Δ); default: c / 4, or a quarter of the trained "
            "context where that is less.",
        ),
    ] = None
    prefix: Annotated[
        int | None,
        typer.Option(
            "--prefix",
            min=1,
            metavar="N",
            help="Tokens kept when the context is full (L_X); default: c - block.",
        ),
    ] = None
    train_prefix: Annotated[
        int | None,
        typer.Option(
            "--train-prefix",
            min=0,
            metavar="N",
            help="Tokens before a block that its update sees (L_T) (preset).",
        ),
    ] = None
    preset: Annotated[
        Preset,
        typer.Option(
            "--preset", help="The update rule; the flags named (preset) change parts of it."
        ),
    ] = Preset.DEFAULT
    prefix_gradient: Annotated[
        bool | None,
        typer.Option(
            "--prefix-gradient/--no-prefix-gradient",
            help="Train through the train prefix, or only read it: faster (preset).",
        ),
    ] = None
    rank: Annotated[
        int | None, typer.Option("--rank", min=1, metavar="N", help="Rank of the adapter (preset).")
    ] = None
    alpha: Annotated[
        float | None,
        typer.Option("--alpha", metavar="X", help="Adapter scale is alpha / rank (preset)."),
    ] = None
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate",
            metavar="X",
            help="At too high a rate a text repeats itself (preset).",
        ),
    ] = None
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", min=1, metavar="N", help="Training steps for each block (preset)."
        ),
    ] = None
    decay: Annotated[
        float | None,
        typer.Option(
            "--decay", metavar="X", help="Share of the adapter that fades with each block (preset)."
        ),
    ] = None
    targets: Annotated[
        Targets | None,
        typer.Option("--targets", help="Linear layers that carry the adapter (preset)."),
    ] = None
    layers: Annotated[
        int | None,
        typer.Option(
            "--layers", min=1, metavar="N", help="The last N layers carry the adapter (preset)."
        ),
    ] = None
    train_dtype: Annotated[
        TrainDtype, typer.Option("--train-dtype", help="Precision of training; auto: as measured.")
    ] = TrainDtype.AUTO
    train_memory: Annotated[
        float | None,
        typer.Option(
            "--train-memory", metavar="GIB", help="Memory for training; default: what is free."
        ),
    ] = None
    adapter_in: Annotated[
        Path | None,
        typer.Option(
            "--adapter-in",
            metavar="FILE",
            help="Go on from a GGUF adapter, such as --adapter-out keeps, on its rank and layers.",
        ),
    ] = None
    lora: Annotated[
        list[str] | None,
        typer.Option(
            "--lora",
            metavar="FILE[:SCALE]",
            help="A GGUF adapter that stays as it is, under the temporary one; may be repeated.",
        ),
    ] = None
    no_templora: Annotated[
        bool,
        typer.Option("--no-templora", help="No temporary adapter; any model that llama.cpp loads."),
    ] = False
    kv_policy: Annotated[
        KvPolicy,
        typer.Option(
            "--kv-policy", help="What becomes of the KV cache at a swap and when it is full."
        ),
    ] = KvPolicy.REUSE
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep",
            min=0,
            metavar="N",
            help="Tokens that --kv-policy shift never drops, as attention sinks; default: 4.",
        ),
    ] = None
    cache_type_k: Annotated[
        KvType, typer.Option("-ctk", "--cache-type-k", help="Data type of cached keys.")
    ] = KvType.F16
    cache_type_v: Annotated[
        KvType, typer.Option("-ctv", "--cache-type-v", help="Data type of cached values.")
    ] = KvType.F16
    self_extend: Annotated[
        SelfExtendMode | None,
        typer.Option(
            "--self-extend",
            help="Go past the trained context with SelfExtend; chooses -gan and -gaw for -c.",
        ),
    ] = None
    grp_attn_n: Annotated[
        int,
        typer.Option(
            "-gan",
            "--grp-attn-n",
            min=1,
            metavar="G",
            help="SelfExtend: far tokens that share a position; 1: off.",
        ),
    ] = 1
    grp_attn_w: Annotated[
        int,
        typer.Option(
            "-gaw",
            "--grp-attn-w",
            min=1,
            metavar="N",
            help="SelfExtend: last tokens that keep their own positions.",
        ),
    ] = DEFAULT_NEIGHBOURS
    rope_scaling: Annotated[
        RopeScaling | None,
        typer.Option("--rope-scaling", help="RoPE scaling; default: the model's own."),
    ] = None
    rope_freq_base: Annotated[
        float | None,
        typer.Option(
            "--rope-freq-base", metavar="X", help="RoPE base frequency; default: the model's own."
        ),
    ] = None
    rope_freq_scale: Annotated[
        float | None,
        typer.Option(
            "--rope-freq-scale",
            metavar="X",
            help="Factor of positions; 0.25 fits four times the trained context.",
        ),
    ] = None
    yarn_orig_ctx: Annotated[
        int | None,
        typer.Option("--yarn-orig-ctx", metavar="N", help="YaRN: context before any scaling."),
    ] = None
    yarn_ext_factor: Annotated[
        float | None,
        typer.Option(
            "--yarn-ext-factor",
            metavar="X",
            help="YaRN: share of extrapolation; 0: interpolation alone.",
        ),
    ] = None
    yarn_attn_factor: Annotated[
        float | None,
        typer.Option(
            "--yarn-attn-factor",
            metavar="X",
            help="YaRN: scale of attention, where the ext-factor is 0.",
        ),
    ] = None
    yarn_beta_slow: Annotated[
        float | None,
        typer.Option(
            "--yarn-beta-slow",
            metavar="X",
            help="YaRN: dimensions that turn less often are interpolated; default: 1.",
        ),
    ] = None
    yarn_beta_fast: Annotated[
        float | None,
        typer.Option(
            "--yarn-beta-fast",
            metavar="X",
            help="YaRN: dimensions that turn more often stay as they are; default: 32.",
        ),
    ] = None

    def inputs(self, bundled: Path) -> list[tuple[str, Path | None]]:
        """Files that the session reads, as `check_outputs` takes them."""
        model = self.model or bundled
        # the parts of a split model have one name, but for their numbers
        parts = model.parent.glob(re.sub(r"-\d{5}-of-", "-?????-of-", escape(model.name)))
        return [
            *(("-m", path) for path in (model, *parts)),
            ("--adapter-in", self.adapter_in),
            *(("--lora", FixedAdapter.parse(text).path) for text in self.lora or ()),
        ]

    def settings(self) -> dict[str, Any]:
        """The arguments of `TempLora` but the model, which comes first.

        Raises:
            OptionError: a value is out of its range.
        """
        return {
            "n_ctx": self.ctx_size,
            "block_len": self.block,
            "prefix_len": self.prefix,
            "train_prefix_len": self.train_prefix,
            "kv_policy": self.kv_policy,
            "n_keep": self.keep,
            "type_k": self.cache_type_k,
            "type_v": self.cache_type_v,
            "rope": RopeOptions(
                scaling=self.rope_scaling,
                freq_base=self.rope_freq_base,
                freq_scale=self.rope_freq_scale,
                yarn_orig_ctx=self.yarn_orig_ctx,
                yarn_ext_factor=self.yarn_ext_factor,
                yarn_attn_factor=self.yarn_attn_factor,
                yarn_beta_slow=self.yarn_beta_slow,
                yarn_beta_fast=self.yarn_beta_fast,
            ),
            "self_extend": self._self_extend(),
            "adapter": self.adapter_in,
            "lora": tuple(FixedAdapter.parse(text) for text in self.lora or ()),
            "preset": self.preset,
            "rank": self.rank,
            "alpha": self.alpha,
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
            "decay": self.decay,
            "targets": self.targets,
            "layers": self.layers,
            "prefix_gradient": self.prefix_gradient,
            "n_batch": self.batch_size,
            "n_threads": self.threads,
            "n_threads_train": self.threads_train,
            "train_dtype": self.train_dtype,
            "train_memory_bytes": None
            if self.train_memory is None
            else int(self.train_memory * 2**30),
        }

    def _self_extend(self) -> SelfExtendOptions | Literal["auto"] | None:
        if self.self_extend is not None:
            if self.grp_attn_n != 1:
                raise typer.BadParameter("give --self-extend auto or -gan, not both")
            return "auto"
        if self.grp_attn_n == 1:
            return None
        return SelfExtendOptions(self.grp_attn_n, self.grp_attn_w)


def takes_session_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Spread the parameter ``flags`` of ``command``, `SessionFlags`, into flags of its own."""
    own = inspect.signature(command)
    shared = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type
        )
        for field in fields(SessionFlags)
    ]
    others = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in own.parameters.values()
        if parameter.name != "flags"
    ]

    @wraps(command)
    def spread(**given: Any) -> None:
        flags = SessionFlags(**{parameter.name: given.pop(parameter.name) for parameter in shared})
        command(flags=flags, **given)

    signature = own.replace(parameters=[*others, *shared])
    spread.__signature__ = signature  # type: ignore[attr-defined]
    spread.__annotations__ = {name: p.annotation for name, p in signature.parameters.items()}
    return spread
