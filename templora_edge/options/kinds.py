"""Enumerations: the values that options choose from."""

from enum import StrEnum


class KvPolicy(StrEnum):
    """What happens to the KV cache at a swap and when the next block does not fit."""

    REUSE = "reuse"
    """Keep keys and values across swaps; when full, recompute the last ``prefix_len`` tokens."""
    RECOMPUTE = "recompute"
    """Like `REUSE`, but recompute the whole cache after every swap (the paper's baseline)."""
    SHIFT = "shift"
    """Never recompute: keep ``n_keep`` tokens, drop the oldest half of the rest, shift the rest."""


class ScoringProtocol(StrEnum):
    """Which tokens are scored, and what they are conditioned on."""

    STREAM = "stream"
    """Every token but the first, run through the loop; the KV policy decides what precedes it."""
    LLAMA_PERPLEXITY = "llama-perplexity"
    """Like llama.cpp's tool: the second half of each consecutive window of n_ctx tokens."""


class PasskeyMode(StrEnum):
    """How the text of a passkey test is read."""

    BASE = "base"
    SELF_EXTEND = "self-extend"
    TEMPLORA = "templora"
    BOTH = "both"

    @property
    def learns(self) -> bool:
        """Whether the adapter is trained on the text."""
        return self in (PasskeyMode.TEMPLORA, PasskeyMode.BOTH)

    @property
    def extends(self) -> bool:
        """Whether SelfExtend extends the context to hold the text."""
        return self in (PasskeyMode.SELF_EXTEND, PasskeyMode.BOTH)


class KvType(StrEnum):
    """Data type of cached keys or values; names are llama.cpp's."""

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
        """Whether the type stores blocks of integers."""
        return self not in (KvType.F32, KvType.F16, KvType.BF16)


class TextKind(StrEnum):
    """Kind of text that is learned; rules and lengths depend on it."""

    TEXT = "text"
    """One text, given and generated blocks of which have learning rates of their own."""
    TRANSLATION = "translation"
    """Generated translations, learned in pairs with their sources."""


class Preset(StrEnum):
    """Names of update rules."""

    DEFAULT = "default"
    """up_proj and down_proj, one epoch, a rate that finds itself: the largest gain for its cost."""
    PAPER = "paper"
    """The paper's update rule by its letters, for given and generated text alike."""
    BEST = "best"
    """All linear layers, two epochs, a longer train prefix; not measured on pretrained models."""


class Targets(StrEnum):
    """Linear layers that carry the adapter; never lm_head."""

    ALL = "all"
    """All linear layers, as in the paper."""
    MLP = "mlp"
    UP_DOWN = "up-down"
    """The MLP without its gate, which gains little and slows decoding as the others do."""
    ATTENTION = "attention"


class TrainDtype(StrEnum):
    """Precision of matrix products in training; adapter and optimizer are always fp32."""

    AUTO = "auto"
    """bf16 where the device multiplies it faster."""
    FP32 = "fp32"
    BF16 = "bf16"


class TrainDevice(StrEnum):
    """Device that training computes on; names are torch's."""

    AUTO = "auto"
    """The one on which a short measurement is fastest, of those that torch finds."""
    CPU = "cpu"
    MPS = "mps"
    """The GPU of Apple's processors."""
    CUDA = "cuda"
    """A GPU of NVIDIA, or of AMD with torch's build for ROCm."""


class RopeScaling(StrEnum):
    """RoPE scaling method; names are llama.cpp's."""

    NONE = "none"
    LINEAR = "linear"
    YARN = "yarn"
