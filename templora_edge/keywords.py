"""Keywords of `TempLora` and of its methods, with their types."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

from templora_edge.options import (
    FixedAdapter,
    KvPolicy,
    Preset,
    RopeOptions,
    SamplingOptions,
    SelfExtendOptions,
    Targets,
    TrainDevice,
    TrainDtype,
)


class Shortcuts(TypedDict, total=False):
    """The most common options, as keywords of `TempLora`; `Options` documents them."""

    n_ctx: int
    n_threads: int
    block_len: int
    prefix_len: int
    train_prefix_len: int
    kv_policy: KvPolicy | str
    self_extend: SelfExtendOptions | Literal["auto"] | None
    rope: RopeOptions
    lora: Sequence[FixedAdapter]
    templora: bool
    preset: Preset | str
    rank: int
    learning_rate: float | Literal["auto"]
    own_learning_rate: float
    targets: Targets | str
    layers: int | None
    seed: int
    repack: bool | None
    n_gpu_layers: int | Literal["auto", "all"]
    train_device: TrainDevice | str
    train_dtype: TrainDtype | str
    adapter: str | Path | None
    measure_after: bool
    overlap: bool


class Asked(TypedDict, total=False):
    """Keywords of `TempLora.stream`."""

    n_predict: int | None
    sampling: SamplingOptions | None
    chat: bool
    special: bool
    notes: str | None
    stop: Sequence[str]
    chapters: int | None
