"""Options, as frozen dataclasses that reject contradictions when they are built.

Names are llama.cpp's for generation and PEFT's for the adapter; the paper's letters (arXiv
2401.11504) stand beside the fields that have one.
"""

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from templora_edge.errors import OptionError
from templora_edge.positions import RopeOptions, SelfExtendOptions

DEFAULT_MAX_CTX: Final = 4096
"""Context chosen for models trained on more, in tokens: a short window is the point."""

MAX_SEED: Final = 2**32 - 2
"""Largest seed; llama.cpp reads 2**32 - 1 as "choose one" (LLAMA_DEFAULT_SEED)."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise OptionError(message)


class KvPolicy(StrEnum):
    """What happens to the KV cache at a swap and when the next block does not fit."""

    REUSE = "reuse"
    """Keep keys and values across swaps; when full, recompute the last ``prefix_len`` tokens."""
    RECOMPUTE = "recompute"
    """As `REUSE`, and recompute the whole cache after every swap (the paper's baseline)."""
    SHIFT = "shift"
    """Never recompute: keep ``n_keep`` tokens, drop the oldest half of the rest, shift the rest."""


class ScoringProtocol(StrEnum):
    """Which tokens are scored, and what they are conditioned on."""

    STREAM = "stream"
    """Every token but the first, through the loop: the KV policy decides what precedes it."""
    LLAMA_PERPLEXITY = "llama-perplexity"
    """As llama.cpp's tool: the second halves of consecutive windows of n_ctx tokens."""


class PasskeyMode(StrEnum):
    """What reads the text of a passkey test."""

    BASE = "base"
    SELF_EXTEND = "self-extend"
    TEMPLORA = "templora"
    BOTH = "both"

    @property
    def learns(self) -> bool:
        """Whether the text is trained on."""
        return self in (PasskeyMode.TEMPLORA, PasskeyMode.BOTH)

    @property
    def extends(self) -> bool:
        """Whether SelfExtend makes room for the text."""
        return self in (PasskeyMode.SELF_EXTEND, PasskeyMode.BOTH)


class KvType(StrEnum):
    """Data type of cached keys or values, by llama.cpp's names."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"
    Q5_1 = "q5_1"
    Q5_0 = "q5_0"
    Q4_1 = "q4_1"
    Q4_0 = "q4_0"
    IQ4_NL = "iq4_nl"

    @property
    def quantized(self) -> bool:
        """Whether values are stored in blocks of integers."""
        return self not in (KvType.F32, KvType.F16, KvType.BF16)


@dataclass(frozen=True, slots=True)
class FixedAdapter:
    """A LoRA adapter in a GGUF file that stays as it is, under the temporary one."""

    path: Path
    scale: float = 1.0
    """What its output is multiplied by, besides its own alpha / rank."""

    def __post_init__(self) -> None:
        _require(
            math.isfinite(self.scale),
            f"--lora {self.path}: scale is {self.scale}; expected a finite number",
        )

    @classmethod
    def parse(cls, text: str) -> "FixedAdapter":
        """From `FILE[:SCALE]`: what follows the last colon is a scale if it is a number."""
        name, colon, scale = text.rpartition(":")
        try:
            return cls(Path(name), float(scale)) if colon else cls(Path(text))
        except ValueError:
            return cls(Path(text))


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How llama.cpp runs. ``n_ctx`` 0 means the trained context, at most 4,096 tokens."""

    n_ctx: int = 0
    n_batch: int = 512
    n_threads: int = 0
    type_k: KvType = KvType.F16
    """Data type of cached keys."""
    type_v: KvType = KvType.F16
    """Data type of cached values; quantized ones need flash attention, which is then on."""
    flash_attn: bool | None = None
    """Flash attention on, off, or as llama.cpp chooses."""
    rope: RopeOptions = field(default_factory=RopeOptions)
    self_extend: SelfExtendOptions | None = None
    shift: bool = False
    """Whether the cache will be shifted."""
    swa_full: bool = False
    """Whether sliding-window layers keep every token, so that the cache can be cut anywhere."""
    lora: tuple[FixedAdapter, ...] = ()
    """Adapters under the temporary one."""

    @property
    def k_shift(self) -> bool:
        """Whether cached keys will be moved to other positions."""
        return self.shift or self.self_extend is not None

    def __post_init__(self) -> None:
        _require(self.n_ctx >= 0, f"n_ctx is {self.n_ctx}; expected 0 or more tokens")
        _require(self.n_batch >= 1, f"n_batch is {self.n_batch}; expected at least 1 token")
        _require(self.n_threads >= 0, f"n_threads is {self.n_threads}; expected 0 or more")
        _require(
            not (self.type_v.quantized and self.flash_attn is False),
            f"-ctv {self.type_v}: quantized values need flash attention, which is off",
        )


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """The sampler chain, in llama.cpp's order and with its defaults."""

    temperature: float = 0.8
    """0 or less is greedy."""
    top_k: int = 40
    """0 or less keeps the whole vocabulary."""
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    seed: int = 0
    ignore_eos: bool = False
    """Never choose an end-of-generation token."""

    def __post_init__(self) -> None:
        _require(
            math.isfinite(self.temperature),
            f"temperature is {self.temperature}; expected a finite number",
        )
        _require(0 <= self.top_p <= 1, f"top_p is {self.top_p}; expected 0 to 1")
        _require(0 <= self.min_p <= 1, f"min_p is {self.min_p}; expected 0 to 1")
        _require(
            0 < self.repeat_penalty < math.inf,
            f"repeat_penalty is {self.repeat_penalty}; expected above 0, and finite",
        )
        _require(0 <= self.seed <= MAX_SEED, f"seed is {self.seed}; expected 0 to {MAX_SEED}")


@dataclass(frozen=True, slots=True)
class BlockOptions:
    """How a text is cut into blocks and what each block sees, in tokens.

    Build it with `for_context`, which fills in what depends on the context.
    """

    n_ctx: int
    """W."""
    block_len: int
    """Δ: tokens between two updates of the adapter."""
    prefix_len: int
    """L_X: tokens recomputed when the cache is full, BOS among them."""
    train_prefix_len: int
    """L_T: tokens before a block that its update conditions on, without loss."""
    kv_policy: KvPolicy = KvPolicy.REUSE
    n_keep: int = 4
    """Tokens that `KvPolicy.SHIFT` never drops, BOS among them (attention sinks, arXiv
    2309.17453)."""

    def __post_init__(self) -> None:
        _require(self.block_len >= 1, f"block is {self.block_len} tokens; expected at least 1")
        _require(
            self.block_len < self.n_ctx,
            f"block is {self.block_len} tokens, context is {self.n_ctx}: a block must be smaller "
            "than the context; lower --block or raise -c",
        )
        _require(
            1 <= self.prefix_len <= self.n_ctx - self.block_len,
            f"prefix is {self.prefix_len} tokens; expected 1 to context - block = "
            f"{self.n_ctx - self.block_len}",
        )
        _require(
            self.train_prefix_len >= 0,
            f"train prefix is {self.train_prefix_len} tokens; expected 0 or more",
        )
        _require(
            0 <= self.n_keep < self.prefix_len,
            f"n_keep is {self.n_keep} tokens; expected 0 to below the prefix, {self.prefix_len}",
        )

    def update_len(self, *, prefix_gradient: bool) -> int:
        """Tokens of the longest update whose activations are kept for backward."""
        if prefix_gradient:
            return self.train_prefix_len + self.block_len
        return max(self.train_prefix_len, self.block_len)

    @classmethod
    def for_context(
        cls,
        n_ctx: int,
        *,
        n_trained: int | None = None,
        block_len: int | None = None,
        prefix_len: int | None = None,
        train_prefix_len: int | None = None,
        train_prefix_share: float = 1.0,
        kv_policy: KvPolicy = KvPolicy.REUSE,
        n_keep: int | None = None,
    ) -> "BlockOptions":
        """Defaults: block W / 4, prefix W - Δ, train prefix a share of Δ, 4 tokens kept.

        Args:
            n_trained: trained context; a block is a quarter of it at most, for an update has to
                fit it, also where the engine goes past it.

        Raises:
            OptionError: the lengths do not fit the context.
        """
        if block_len is None:
            block_len = max(1, min(n_ctx, n_trained or n_ctx) // 4)
        prefix = max(1, n_ctx - block_len) if prefix_len is None else prefix_len
        return cls(
            n_ctx=n_ctx,
            block_len=block_len,
            prefix_len=prefix,
            train_prefix_len=round(train_prefix_share * block_len)
            if train_prefix_len is None
            else train_prefix_len,
            kv_policy=kv_policy,
            n_keep=max(0, min(4, prefix - 1)) if n_keep is None else n_keep,
        )


class Targets(StrEnum):
    """Linear layers that carry the adapter; lm_head never does."""

    ALL = "all"
    """The paper's."""
    MLP = "mlp"
    ATTENTION = "attention"


@dataclass(frozen=True, slots=True)
class LoraOptions:
    """The adapter and its update rule, with the paper's values."""

    rank: int = 64
    alpha: float = 64.0
    """The adapter's output is scaled by alpha / rank."""
    dropout: float = 0.05
    learning_rate: float = 5e-5
    """Right for text the model writes itself; text that is given stands more (docs/log.md)."""
    warmup_blocks: int = 2
    """Blocks over which the learning rate rises to its full value."""
    epochs: int = 2
    max_grad_norm: float = 1.0
    decay: float = 0.0
    """Share of the adapter's output that fades after each block. Nothing else holds a model that
    learns what it writes itself (docs/log.md); the paper has none."""
    targets: Targets = Targets.ALL
    layers: int | None = None
    """Decoder layers that carry the adapter, counted from the last; None is all of them."""
    modules: tuple[str, ...] | None = None
    """transformers' full names of the linear layers that carry the adapter, where an adapter that
    training goes on from has some that ``targets`` and ``layers`` do not describe."""
    prefix_gradient: bool = True
    """Whether gradients flow through the keys and values of the train prefix; without, its backward
    pass is saved, and its activations."""
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.rank >= 1, f"rank is {self.rank}; expected at least 1")
        _require(0 < self.alpha < math.inf, f"alpha is {self.alpha}; expected above 0, and finite")
        _require(0 <= self.dropout < 1, f"dropout is {self.dropout}; expected 0 to below 1")
        _require(
            0 < self.learning_rate < math.inf,
            f"learning rate is {self.learning_rate}; expected above 0, and finite",
        )
        _require(
            self.layers is None or self.layers >= 1, f"layers is {self.layers}; expected 1 or more"
        )
        _require(0 <= self.decay < 1, f"decay is {self.decay}; expected 0 to below 1")
        _require(self.epochs >= 1, f"epochs is {self.epochs}; expected at least 1")
        _require(
            self.warmup_blocks >= 0, f"warm-up is {self.warmup_blocks} blocks; expected 0 or more"
        )

    def changed(self, *, rank: int | None, alpha: float | None, **others: Any) -> "LoraOptions":
        """With the values that are not None; alpha follows a new rank unless it is given too.

        Raises:
            OptionError: a value is out of its range.
        """
        if rank is not None and alpha is None:
            alpha = self.alpha / self.rank * rank
        wanted = {"rank": rank, "alpha": alpha} | others
        given = {name: value for name, value in wanted.items() if value is not None}
        return replace(self, **given)


class TrainDtype(StrEnum):
    """Precision of training's matrix products; adapter and optimizer are always fp32."""

    AUTO = "auto"
    """bf16 where a short measurement finds it clearly faster."""
    FP32 = "fp32"
    BF16 = "bf16"


@dataclass(frozen=True, slots=True)
class TrainerOptions:
    """How the training process runs."""

    n_threads: int
    n_ctx: int
    """llama.cpp's context, in tokens."""
    n_tokens: int
    """The longest update (`BlockOptions.update_len`)."""
    dtype: TrainDtype = TrainDtype.AUTO
    memory_bytes: int | None = None
    """Private memory it may use; None is what is available when it starts."""
    rope: RopeOptions = field(default_factory=RopeOptions)
    adapter: Path | None = None
    """A GGUF adapter to go on from; None is a fresh one."""
    lora: tuple[FixedAdapter, ...] = ()
    """Adapters that the base has, as `EngineOptions.lora`."""
    measure_after: bool = True
    """Whether a block's loss is measured again after its update, which costs a forward pass."""

    def __post_init__(self) -> None:
        _require(
            self.memory_bytes is None or self.memory_bytes > 0,
            f"train memory is {self.memory_bytes} bytes; expected above 0",
        )
