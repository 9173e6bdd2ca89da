"""Estimate of the private memory of the process that generates, in bytes."""

from typing import Final

from templora_edge.engine.capture import weights_from
from templora_edge.engine.context import MOST_LOGITS, value_bytes
from templora_edge.models.families import common_config, family_of
from templora_edge.models.gguf_file import GgufFile
from templora_edge.models.heads import Heads
from templora_edge.options import Capture, EngineOptions

OVERHEAD: Final = 70 << 20
"""Memory of the interpreter, its packages and llama.cpp once they are loaded."""
VOCABULARY_ENTRY: Final = 100
"""Bytes that llama.cpp takes for an entry of the vocabulary."""
FLOAT: Final = 4
"""Bytes of a value in llama.cpp's graphs."""
BF16: Final = 2
"""Bytes of a value of a product that is kept for training."""
SLIDING_CELLS: Final = 256
"""Cells of a sliding-window cache are a multiple of this (llama-kv-cache-iswa.cpp)."""


def private_bytes(base: GgufFile, options: EngineOptions) -> int:
    """Estimated peak of private memory, without the base's pages, which are shared.

    Args:
        base: the model, of a family that Temp-LoRA can train.
        options: resolved options.

    Raises:
        UnsupportedModelError: the model is of no such family.
    """
    settings = common_config(base)
    n_batch = min(options.n_batch, options.n_ctx)
    width, feed_forward = settings["hidden_size"], settings["intermediate_size"]
    graph: int = n_batch * FLOAT * (2 * feed_forward + 4 * width)
    # llama.cpp has room for the logits of a batch in its graph, and again for the caller
    n_vocab: int = settings["vocab_size"]
    logits = 2 * min(MOST_LOGITS, n_batch) * n_vocab * FLOAT
    kept = 0 if options.capture is None else _kept_bytes(base, options.capture)
    vocabulary = n_vocab * VOCABULARY_ENTRY
    return OVERHEAD + vocabulary + kv_bytes(base, options) + graph + logits + kept


def kv_bytes(base: GgufFile, options: EngineOptions) -> int:
    """Size of the KV cache; sliding-window layers may have a smaller one."""
    heads, n_ctx = Heads.of(base), options.n_ctx
    key, value = value_bytes(options.type_k), value_bytes(options.type_v)
    whole = heads.kv_bytes(n_ctx, key, value)
    n_layers = len(heads.n_kv)
    sliding = family_of(base).layer_types(n_layers).count("sliding_attention")
    window = int(base.get("{arch}.attention.sliding_window", 0))
    if not (sliding and window) or options.swa_full or options.k_shift:
        return whole
    cells = min(n_ctx, window + min(options.n_batch, n_ctx))
    cells += -cells % SLIDING_CELLS
    return (whole * (n_layers - sliding) + heads.kv_bytes(cells, key, value) * sliding) // n_layers


def _kept_bytes(base: GgufFile, capture: Capture) -> int:
    """Memory of what training takes over; predictions are small."""
    products = sum(n for _, n in weights_from(base, capture.layer)) if capture.products else 0
    states = int(base.require("{arch}.embedding_length"))
    return capture.n_tokens * (products * BF16 + states * FLOAT)
