"""Dimensions of usual models as their makers publish them, for estimates without their files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np

from templora_edge.models.base_gguf import BaseGguf
from templora_edge.models.gguf_file import GgufFile

_KIND: Final = gguf.GGMLQuantizationType


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Dimensions of a model, from the ``config.json`` beside its weights on Hugging Face."""

    repo: str
    """Repository of the weights: the source of the numbers below."""
    architecture: str
    """llama.cpp's name of the architecture."""
    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    context: int
    """Trained context in tokens."""
    window: int = 0
    """Sliding window in tokens; 0: all layers attend to everything."""
    tied: bool = True
    """Whether the output layer is the embedding."""


USUAL: Final = (
    Dimensions(
        "HuggingFaceTB/SmolLM2-135M", "llama",
        layers=30, width=576, feed_forward=1536, heads=9, kv_heads=3, head_size=64,
        vocabulary=49152, context=8192,
    ),
    Dimensions(
        "google/gemma-3-270m", "gemma3",
        layers=18, width=640, feed_forward=2048, heads=4, kv_heads=1, head_size=256,
        vocabulary=262144, context=32768, window=512,
    ),
    Dimensions(
        "meta-llama/Llama-3.2-1B", "llama",
        layers=16, width=2048, feed_forward=8192, heads=32, kv_heads=8, head_size=64,
        vocabulary=128256, context=131072,
    ),
    Dimensions(
        "meta-llama/Llama-3.2-3B", "llama",
        layers=28, width=3072, feed_forward=8192, heads=24, kv_heads=8, head_size=128,
        vocabulary=128256, context=131072,
    ),
    Dimensions(
        "mistralai/Mistral-7B-v0.3", "llama",
        layers=32, width=4096, feed_forward=14336, heads=32, kv_heads=8, head_size=128,
        vocabulary=32768, context=32768, tied=False,
    ),
)  # fmt: skip
"""From the smallest to the largest."""


class PublishedModel(BaseGguf):
    """A model of known dimensions in Q4_K_M: metadata, and tensors without values."""

    def __init__(self, dimensions: Dimensions) -> None:  # reads no file, unlike the class above
        own = dimensions
        self.path = Path(own.repo)
        self._metadata = {
            "general.architecture": own.architecture,
            "{arch}.block_count": own.layers,
            "{arch}.embedding_length": own.width,
            "{arch}.feed_forward_length": own.feed_forward,
            "{arch}.attention.head_count": own.heads,
            "{arch}.attention.head_count_kv": own.kv_heads,
            "{arch}.attention.key_length": own.head_size,
            "{arch}.attention.value_length": own.head_size,
            "{arch}.attention.sliding_window": own.window,
            "{arch}.context_length": own.context,
        }
        self.tensors = {tensor.name: tensor for tensor in _tensors(own)}

    def get(self, key: str, default: Any = None) -> Any:
        """The metadata value of ``key``, as `GgufFile.get`."""
        return self._metadata.get(key, default)


def _tensors(own: Dimensions) -> list[gguf.ReaderTensor]:
    """All matrices, in the types that llama.cpp chooses for Q4_K_M (llama-quant.cpp)."""
    queries, keys = own.heads * own.head_size, own.kv_heads * own.head_size
    embedding = _tensor("token_embd", own.width, own.vocabulary, many_bits=own.tied)
    tensors = [embedding]
    if not own.tied:
        tensors.append(_tensor("output", own.width, own.vocabulary, many_bits=True))
    for i in range(own.layers):
        more = has_more_bits(i, own.layers)
        tensors += [
            _tensor(f"blk.{i}.attn_q", own.width, queries),
            _tensor(f"blk.{i}.attn_k", own.width, keys),
            _tensor(f"blk.{i}.attn_v", own.width, keys, many_bits=more),
            _tensor(f"blk.{i}.attn_output", queries, own.width),
            _tensor(f"blk.{i}.ffn_gate", own.width, own.feed_forward),
            _tensor(f"blk.{i}.ffn_up", own.width, own.feed_forward),
            _tensor(f"blk.{i}.ffn_down", own.feed_forward, own.width, many_bits=more),
        ]
    return tensors


def has_more_bits(layer: int, n_layers: int) -> bool:
    """Whether Q4_K_M gives a layer's values and down projection more bits (llama-quant.cpp)."""
    eighth = n_layers // 8
    return layer < eighth or layer >= 7 * n_layers // 8 or (layer - eighth) % 3 == 2


def _tensor(name: str, n_in: int, n_out: int, *, many_bits: bool = False) -> gguf.ReaderTensor:
    """A matrix; rows that are no multiple of 256 values cannot have K-quants."""
    if n_in % gguf.QK_K == 0:
        kind = _KIND.Q6_K if many_bits else _KIND.Q4_K
    else:
        kind = _KIND.Q8_0 if many_bits else _KIND.Q5_0
    values, size = gguf.GGML_QUANT_SIZES[kind]
    n = n_in * n_out
    return gguf.ReaderTensor(
        name=f"{name}.weight",
        tensor_type=kind,
        shape=np.array([n_in, n_out], np.uint32),
        n_elements=n,
        n_bytes=n // values * size,
        data_offset=0,
        data=np.empty(0, np.uint8),
        field=None,  # type: ignore[arg-type]  # where the file describes it
    )


def weight_bytes(base: GgufFile) -> int:
    """Size of all tensors: the pages of the file that a run touches."""
    return sum(int(tensor.n_bytes) for tensor in base.tensors.values())
