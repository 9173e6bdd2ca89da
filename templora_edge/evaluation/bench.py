"""What writing and learning cost on this machine: the loop, its updates, llama.cpp, memory.

The tokens of the beginning are drawn with a fixed seed, so no text is needed. From there the
session's own loop writes blocks and learns each of them; only llama.cpp's speed is measured apart.
"""

import logging
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from templora_edge.engine import LlamaEngine
from templora_edge.engine.adapter import Adapter
from templora_edge.engine.vocab import Vocab
from templora_edge.errors import EngineError, OptionError, UnsupportedModelError
from templora_edge.evaluation.costs import (
    BenchResult,
    EngineSpeed,
    LoopCost,
    ProcessMemory,
    UpdateCost,
)
from templora_edge.events import BlockReport
from templora_edge.host import memory
from templora_edge.host.private_peak import PrivatePeak
from templora_edge.host.workspace import Workspace
from templora_edge.models.base_gguf import BaseGguf
from templora_edge.models.footprint import adapter_file_bytes
from templora_edge.models.operations import update_operations
from templora_edge.options import PAPER, Options, SamplingOptions, TrainDevice
from templora_edge.session import TempLora
from templora_edge.training.probe import gemm_peak

MAX_PREFILL: Final = 512
"""Most tokens of a timed prefill."""
MAX_DECODE: Final = 32
"""Most tokens of a timed run of decoding."""
N_RUNS: Final = 4
"""Runs of decoding after a prefill: without the adapter, with it, with it, without it."""
SAMPLING: Final = SamplingOptions(
    temperature=1.5, top_p=1.0, min_p=0.0, seed=0, ignore_eos=True, repeat_penalty=1.1
)
"""Wild, because a block that repeats itself would not be learned."""
PACKAGES: Final = ("templora-edge", "llama-cpp-python", "torch", "peft", "transformers")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BenchJob:
    """What to measure; without ``options.templora``, generation alone."""

    model: Path | None = None
    options: Options = field(default_factory=Options)
    repetitions: int = 3
    """How often each figure is measured."""


class Bench:
    """A measurement: iterate to do it, step by step, then take the `result`."""

    def __init__(self, job: BenchJob) -> None:
        self._job = job
        self._result: BenchResult | None = None

    @property
    def result(self) -> BenchResult:
        """Everything that was measured.

        Raises:
            RuntimeError: the measurement has not ended.
        """
        if self._result is None:
            raise RuntimeError("the measurement has not ended")
        return self._result

    def __iter__(self) -> Iterator[str]:
        """Measure; yields what is about to be done.

        Raises:
            OptionError: the context is too short.
            TemploraError: a model or a process failed; see `TempLora`.
        """
        begun = time.perf_counter()
        session, reason = _open(self._job)
        with session:
            start_s = time.perf_counter() - begun
            yield from self._measure(session, reason, start_s)

    def _measure(self, session: TempLora, reason: str | None, start_s: float) -> Iterator[str]:
        n, options = self._job.repetitions, session.options
        _check_context(session.engine.n_ctx)
        with _ProcessMemories(session) as memories:
            yield "warming up"
            blocks = endless_blocks(session)
            next(blocks)
            written: list[BlockReport] = []
            begun = time.perf_counter()
            while len(written) < n:
                yield f"writing block {len(written) + 1} of {n}"
                written.append(next(blocks))
            seconds = time.perf_counter() - begun
            used = memories.take()
        loop = LoopCost(
            options.blocks.block_len,
            median(report.generate_s for report in written),
            sum(report.tokens for report in written) / seconds,
        )
        yield "decoding"
        speed, load_s = _engine_speed(session, n)
        update = None
        if options.templora:
            yield "multiplying matrices"
            update = _update_cost(session, written, loop.write_s, load_s)
        self._result = BenchResult(
            _described(session.base),
            _machine(session),
            {name: version(name) for name in PACKAGES},
            options.settings(),
            n,
            reason,
            start_s,
            loop,
            update,
            speed,
            used,
        )


def random_tokens(vocab: Vocab, n: int) -> list[int]:
    """``n`` tokens that are no control tokens, the same each time."""
    rng = np.random.default_rng(0)
    tokens: list[int] = []
    while len(tokens) < n:
        drawn = (int(token) for token in rng.integers(0, vocab.n_tokens, n))
        tokens += (token for token in drawn if not (vocab.is_control(token) or vocab.is_end(token)))
    return tokens[:n]


def endless_blocks(session: TempLora) -> Iterator[BlockReport]:
    """Give a fresh session its beginning, then write without end; yields blocks once learned.

    The first report is that of the beginning's last block. All later updates see the whole L_T.
    """
    options = session.options.blocks
    drawn = random_tokens(session.engine.model.vocab, options.train_prefix_len + options.block_len)
    for _ in session.stream_score(drawn):
        pass
    for event in session.stream(sampling=SAMPLING):
        if isinstance(event, BlockReport):
            yield event


def _open(job: BenchJob) -> tuple[TempLora, str | None]:
    """A session that learns what it writes, or one without Temp-LoRA and the reason for that."""
    options = job.options.changed(measure_after=False)
    if not options.templora:
        return TempLora(job.model, options, past_training=True), "--no-templora"
    if not options.lora.own_learning_rate:
        options = options.changed(own_learning_rate=PAPER.own_learning_rate)
    try:
        return TempLora(job.model, options, past_training=True), None
    except UnsupportedModelError as error:
        _logger.warning("%s; only generation is measured", error)
        options = options.changed(templora=False, adapter=None)
        return TempLora(job.model, options, past_training=True), str(error)


class _ProcessMemories(ExitStack):
    """Watches the memory of a session's processes."""

    def __init__(self, session: TempLora) -> None:
        super().__init__()
        self._pids = {"generate": os.getpid()}
        if session.trainer is not None:
            self._pids["train"] = session.trainer.pid
        self._peaks = {
            name: self.enter_context(PrivatePeak(pid)) for name, pid in self._pids.items()
        }

    def take(self) -> dict[str, ProcessMemory]:
        """Each process's memory so far."""
        return {
            name: ProcessMemory(self._peaks[name].n_bytes, memory.resident(pid))
            for name, pid in self._pids.items()
        }


def _check_context(n_ctx: int) -> None:
    if _decode_lengths(n_ctx)[0] < 1:
        raise OptionError(f"-c {n_ctx}: too short; expected {2 * N_RUNS + 1} or more")


def _decode_lengths(n_ctx: int) -> tuple[int, int]:
    """Tokens of a prefill, and of each run of decoding after it."""
    n_decode = max(1, min(MAX_DECODE, n_ctx // (4 * N_RUNS)))
    return min(MAX_PREFILL, n_ctx - N_RUNS * (n_decode + 1)), n_decode


def _engine_speed(session: TempLora, repetitions: int) -> tuple[EngineSpeed, float]:
    """The engine's speed with and without the newest adapter, and the seconds to load it."""
    engine, options = session.engine, session.options
    n_prefill, n_decode = _decode_lengths(engine.n_ctx)
    tokens = random_tokens(engine.model.vocab, n_prefill)
    prefills, alone, adapted, loads = list[float](), list[float](), list[float](), [0.0]
    with ExitStack() as stack:
        adapter = None
        if options.templora:
            needed = adapter_file_bytes(session.base, options.lora)
            adapter = stack.enter_context(Workspace(needed=needed)).path / "adapter.gguf"
            session.save_adapter(adapter)
            loads = [_load_seconds(engine, adapter) for _ in range(repetitions)]
        order = (None, adapter, adapter, None)  # a load that grows or falls hits both alike
        for _ in range(repetitions):
            prefills.append(_prefill_seconds(engine, tokens))
            runs = [_decode_seconds(engine, one, tokens[:n_decode]) for one in order]
            alone.append(runs[0] + runs[3])
            adapted.append(runs[1] + runs[2])
    decode = N_RUNS // 2 * n_decode / median(alone)
    with_adapter = None if adapter is None else N_RUNS // 2 * n_decode / median(adapted)
    speed = EngineSpeed(
        n_prefill,
        n_prefill / median(prefills),
        n_decode,
        decode,
        with_adapter,
        None if with_adapter is None else with_adapter / decode,
    )
    return speed, median(loads)


def _load_seconds(engine: LlamaEngine, adapter: Path) -> float:
    begun = time.perf_counter()
    with Adapter(engine.model, adapter):
        return time.perf_counter() - begun


def _prefill_seconds(engine: LlamaEngine, tokens: Sequence[int]) -> float:
    engine.swap(None)
    engine.clear()
    engine.decode(tokens[:1])  # the first decode after a swap prepares the new graph
    engine.clear()
    begun = time.perf_counter()
    engine.decode(tokens)
    engine.sample()  # waits for the result
    return time.perf_counter() - begun


def _decode_seconds(engine: LlamaEngine, adapter: Path | None, tokens: Sequence[int]) -> float:
    """Seconds to decode ``tokens`` one by one, after a token that prepares the new graph."""
    engine.swap(adapter)
    engine.decode(tokens[:1])
    engine.sample()
    begun = time.perf_counter()
    for token in tokens:
        engine.decode([token])
        engine.sample()
    return time.perf_counter() - begun


def _update_cost(
    session: TempLora, written: Sequence[BlockReport], write_s: float, load_s: float
) -> UpdateCost:
    learned = [report for report in written if not report.looped]
    if not learned:
        raise EngineError(
            f"{session.base.path}: the model repeats itself even at temperature "
            f"{SAMPLING.temperature}, so that no block was learned; --no-templora measures "
            "generation alone"
        )
    options = session.options
    prefix = len(session.engine.model.vocab.head) + options.blocks.train_prefix_len
    block = options.blocks.block_len
    device = session.train_device or TrainDevice.CPU
    capture = session.engine.context.kept
    if capture is not None and device is not TrainDevice.CPU:
        capture = capture.of_states
    flop = update_operations(
        session.base, options.lora, prefix=prefix, block=block, capture=capture
    )
    train_s = median(report.train_s for report in learned)
    dtype, peak = gemm_peak(options.training, device)
    return UpdateCost(
        block_tokens=block,
        prefix_tokens=prefix,
        train_s=train_s,
        train_to_write=train_s / write_s,
        export_s=median(report.convert_s for report in learned),
        load_s=load_s,
        swap_s=median(report.swap_s for report in learned),
        flop=flop,
        flop_per_s=flop / train_s,
        dtype=dtype,
        gemm_flop_per_s=peak,
        gemm_share=flop / train_s / peak,
    )


def _described(base: BaseGguf) -> dict[str, Any]:
    return {
        "path": str(base.path),
        "architecture": base.architecture,
        "parameters": base.n_params,
        "file_bytes": base.file_bytes,
    }


def _machine(session: TempLora) -> dict[str, Any]:
    options = session.options
    return {
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": options.engine.n_threads,
        "threads_train": options.training.n_threads_train,
        **session.devices,
    }
