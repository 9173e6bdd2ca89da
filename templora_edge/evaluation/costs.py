"""What `templora bench` measures: the results of `evaluation/bench.py`, medians all."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LoopCost:
    """Writing blocks and learning each of them, as `templora generate` does."""

    block_tokens: int
    write_s: float
    """Seconds spent on writing a block."""
    tokens_per_s: float
    """Tokens written per second, with updates and swaps in the time."""


@dataclass(frozen=True, slots=True)
class UpdateCost:
    """An update on a block that the model wrote, and its adapter's way into llama.cpp."""

    block_tokens: int
    prefix_tokens: int
    """Tokens before the block that the update sees, BOS among them."""
    train_s: float
    """Seconds of the whole call, as seen by the process that generates."""
    train_to_write: float
    """Ratio of ``train_s`` to the seconds of writing a block."""
    export_s: float
    """Seconds in which the training process writes the adapter's file."""
    load_s: float
    """Seconds in which llama.cpp loads that file."""
    swap_s: float
    """Seconds of a whole swap: load the new adapter, set it, free the old one."""
    flop: int
    """Floating-point operations of the update, counted from shapes."""
    flop_per_s: float
    dtype: str
    """Precision of matrix products in training."""
    gemm_flop_per_s: float
    """Speed of a large matrix product in that precision on as many threads."""
    gemm_share: float
    """Ratio of ``flop_per_s`` to ``gemm_flop_per_s``."""


@dataclass(frozen=True, slots=True)
class EngineSpeed:
    """Speed of llama.cpp; decoding includes sampling."""

    prefill_tokens: int
    prefill_tokens_per_s: float
    """Without the temporary adapter."""
    decode_tokens: int
    """Tokens of each timed run of decoding, which follows the prefill."""
    decode_tokens_per_s: float
    """Without the temporary adapter."""
    adapter_decode_tokens_per_s: float | None
    """With the temporary adapter; None if there is none."""
    adapter_decode_ratio: float | None
    """Ratio of the latter to the former."""


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Memory of a process while it wrote and learned blocks, in bytes."""

    private_peak_bytes: int
    """Peak of what is not mapped from a file."""
    resident_bytes: int
    """Resident memory at the end, mapped pages of the model included."""


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Everything that was measured, and what it depends on."""

    model: dict[str, Any]
    machine: dict[str, Any]
    versions: dict[str, str]
    settings: dict[str, Any]
    repetitions: int
    without_templora: str | None
    """Why there is no temporary adapter; None if there is one."""
    start_s: float
    """Seconds until every process has loaded the base."""
    loop: LoopCost
    update: UpdateCost | None
    """None without a temporary adapter."""
    engine: EngineSpeed
    memory: dict[str, ProcessMemory]
    """By process: `generate` and, if there is one, `train`."""
