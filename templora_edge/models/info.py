"""Description of a GGUF and what Temp-LoRA can do with it. Reads only the file; loads no model."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from templora_edge.errors import UnsupportedModelError
from templora_edge.models.adapter_file import AdapterGguf
from templora_edge.models.adapter_info import AdapterInfo, adapter_info
from templora_edge.models.base_gguf import BaseGguf
from templora_edge.models.families import why_not_trained
from templora_edge.models.footprint import adapter_parameters, estimate
from templora_edge.models.gguf_file import ADAPTER, GgufFile
from templora_edge.models.heads import Heads
from templora_edge.models.rope import Scaling
from templora_edge.options import Options, RopeOptions

RANKS: Final = (8, 16, 32, 64, 128)
RECURRENT_KEYS: Final = (
    "{arch}.ssm.state_size",
    "{arch}.wkv.head_size",
    "{arch}.shortconv.l_cache",
)
KV_VALUE_BYTES: Final = 2
"""Bytes per value of a cache in F16, llama.cpp's default."""


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """Estimated private memory of training at a rank, in bytes, with the default context."""

    rank: int
    adapter_parameters: int
    adapter_file_bytes: int
    bytes: int
    """Memory if all activations are kept, with matrix products in bf16."""
    bytes_checkpointed: int
    """Memory if layers are recomputed in backward, which is slower."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What `templora info` shows about a model."""

    path: str
    kind: str
    """Always `model`."""
    name: str
    architecture: str
    parameters: int
    file_bytes: int
    quantization: dict[str, float]
    """ggml type -> share of the weights."""
    trained_context: int
    templora: bool
    """Whether Temp-LoRA can train the model."""
    templora_reason: str
    """Why not; empty if it can."""
    k_shift: bool
    """Whether cached keys can be moved, for --kv-policy shift."""
    self_extend: bool
    """Whether SelfExtend works with the model."""
    context: int
    """Default context in tokens, on which the memory figures below are based."""
    kv_cache_bytes: int
    repack: bool
    """Whether llama.cpp repacks the weights here, unless --no-repack is given."""
    training: tuple[TrainingMemory, ...]
    """Memory for several ranks; empty if Temp-LoRA cannot train the model."""


def info(path: Path) -> ModelInfo | AdapterInfo:
    """Describe a GGUF, which may be a model or an adapter.

    Raises:
        ModelFileError: the file is neither.
        AdapterError: the file is an adapter, but not a LoRA.
    """
    if AdapterGguf(path).get("general.type") == ADAPTER:
        return adapter_info(path)
    base = BaseGguf(path)
    reason = why_not_trained(base)
    engine = Options().resolve(base).engine
    context = engine.n_ctx
    weights: Counter[str] = Counter()
    for tensor in base.tensors.values():
        weights[tensor.tensor_type.name] += int(tensor.n_elements)
    movable = _keys_can_move(base)
    return ModelInfo(
        path=str(base.path),
        kind="model",
        name=str(base.get("general.name", base.path.stem)),
        architecture=base.architecture,
        parameters=base.n_params,
        file_bytes=base.file_bytes,
        quantization={kind: n / base.n_params for kind, n in weights.most_common()},
        trained_context=int(base.get("{arch}.context_length", 0)),
        templora=not reason,
        templora_reason=reason,
        k_shift=movable,
        self_extend=movable,
        context=context,
        kv_cache_bytes=Heads.of(base).kv_bytes(context, KV_VALUE_BYTES, KV_VALUE_BYTES),
        repack=bool(engine.repack),
        training=() if reason else tuple(_training(base, rank) for rank in RANKS),
    )


def _keys_can_move(base: GgufFile) -> bool:
    """Whether K-shift and SelfExtend work, as engine/k_shift.py decides with the model loaded."""
    if any(base.get(key) for key in RECURRENT_KEYS):
        return False
    if base.get("{arch}.rope.dimension_sections") is not None:
        return False
    try:
        return math.isclose(Scaling.of(base, RopeOptions()).magnitude, 1, abs_tol=1e-4)
    except UnsupportedModelError:
        return False


def _training(base: BaseGguf, rank: int) -> TrainingMemory:
    options = Options().changed(rank=rank).resolve(base)
    footprint = estimate(base, options.lora, n_tokens=options.update_len, value_bytes=2)
    parameters = adapter_parameters(base, options.lora)
    return TrainingMemory(
        rank,
        parameters,
        4 * parameters,
        footprint.total(checkpointing=False),
        footprint.total(checkpointing=True),
    )
