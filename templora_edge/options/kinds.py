"""What options choose between."""

from enum import StrEnum


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


class TextKind(StrEnum):
    """What kind of text is learned, on which the best learning rate and lengths depend."""

    OWN = "own"
    """The model's own: what helps a small base on given text makes it repeat itself here."""
    GIVEN = "given"
    """Text that is scored or absorbed alone."""
    TRANSLATION = "translation"
    """The model's own translations, learned in pairs with their sources."""


class Preset(StrEnum):
    """Names of update rules."""

    DEFAULT = "default"
    """The paper's: all linear layers, rank 64, two epochs."""
    FAST = "fast"
    """MLP only, one epoch, no L_T: the same gain in a fifth of the training time."""
    BEST = "best"
    """As `FAST` with rank 128 and an L_T that is only read: the largest gain that was measured."""


class Targets(StrEnum):
    """Linear layers that carry the adapter; lm_head never does."""

    ALL = "all"
    """The paper's."""
    MLP = "mlp"
    ATTENTION = "attention"


class TrainDtype(StrEnum):
    """Precision of training's matrix products; adapter and optimizer are always fp32."""

    AUTO = "auto"
    """bf16 where a short measurement finds it clearly faster."""
    FP32 = "fp32"
    BF16 = "bf16"


class RopeScaling(StrEnum):
    """How rotary positions are scaled, by llama.cpp's names."""

    NONE = "none"
    LINEAR = "linear"
    YARN = "yarn"
