"""Measure the cost of an update on a GGUF: private memory, time, dequantization.

Usage: python -m scripts.profiling.training MODEL.gguf [--rank 16] [--tokens 256] [--dtype auto]
           [--train-memory GIB] [--with-engine] [--memory-only]

Train prefix and block have --tokens tokens each. Memory is RssAnon of the training process, sampled
throughout: its private bytes, without the pages of the model that it shares with llama.cpp.
--with-engine also runs llama.cpp on the model in this process and reports its private memory. The
last line is JSON.
"""

import argparse
import json
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from templora_edge.engine import LlamaEngine
from templora_edge.host import memory
from templora_edge.host.private_peak import PrivatePeak
from templora_edge.models.base_gguf import BaseGguf
from templora_edge.models.footprint import BYTES_PER_ADAPTER_PARAMETER, estimate, largest_layer
from templora_edge.options import Options, TrainDtype
from templora_edge.training.client import SidecarTrainer
from templora_edge.training.dequantize import Dequantizer
from templora_edge.training.precision import choose_dtype
from templora_edge.training.trainer import LoraTrainer

ALLOWED_OVERHEAD = 700 << 20
N_UPDATES = 3
"""Number of timed updates; the one with the median share is reported."""


def measure_memory(
    model: Path, options: Options, tokens: list[int], *, engine: bool
) -> dict[str, float]:
    """Peak private memory of the training process in an update and an export.

    With ``engine``, also the private memory of llama.cpp.
    """
    half = len(tokens) // 2
    result: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as folder,
        SidecarTrainer(model, options, Path(folder)) as trainer,
        ExitStack() as stack,
    ):
        peak = stack.enter_context(PrivatePeak(trainer.pid))
        trainer.wait_ready()
        begun = time.perf_counter()
        trainer.train(tokens[:half], tokens[half:])
        result["update_s"] = time.perf_counter() - begun
        path = trainer.export()
        result["adapter_file_bytes"] = path.stat().st_size
        if engine:
            with LlamaEngine(model, replace(options.engine, n_ctx=2 * len(tokens))) as served:
                served.swap(path)
                served.decode(tokens)
                result["engine_private_bytes"] = memory.private()
        stack.close()
        result["sidecar_private_peak_bytes"] = peak.n_bytes
    return result


def measure_dequantization(
    base: BaseGguf, options: Options, tokens: list[int]
) -> dict[str, float | str | bool]:
    """Median share of an update's time spent on dequantization, measured in this process."""
    seconds = 0.0
    rows = Dequantizer.rows

    def timed(self: Dequantizer, *arguments: object) -> torch.Tensor:
        nonlocal seconds
        begun = time.perf_counter()
        out = rows(self, *arguments)  # type: ignore[arg-type]
        seconds += time.perf_counter() - begun
        return out

    torch.set_num_threads(options.training.n_threads_train)
    trainer = LoraTrainer(base, options)
    half = len(tokens) // 2
    trainer.train(tokens[:half], tokens[half:])
    Dequantizer.rows = timed  # type: ignore[method-assign, assignment]
    updates = []
    for _ in range(N_UPDATES):
        seconds, begun = 0.0, time.perf_counter()
        trainer.train(tokens[:half], tokens[half:])
        total = time.perf_counter() - begun
        updates.append((seconds / total, total))
    Dequantizer.rows = rows  # type: ignore[method-assign]
    share, total = sorted(updates)[N_UPDATES // 2]
    return {
        "dtype": str(trainer.dtype).removeprefix("torch."),
        "checkpointing": trainer.checkpointing,
        "update_in_process_s": total,
        "dequantization_share": share,
    }


def main() -> None:
    """Parse the command line, measure, print."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.profiling.training", description=summary)
    parser.add_argument("model", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--dtype", default="auto", choices=list(TrainDtype))
    parser.add_argument("--train-memory", type=float, default=None, metavar="GIB")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--with-engine", action="store_true")
    parser.add_argument("--memory-only", action="store_true")
    arguments = parser.parse_args()
    base = BaseGguf(arguments.model)
    options = (
        Options()
        .changed(
            n_ctx=4 * arguments.tokens,
            n_threads=arguments.threads,
            block_len=arguments.tokens,
            rank=arguments.rank,
            alpha=arguments.rank,
            train_dtype=arguments.dtype,
            train_memory_gib=arguments.train_memory,
        )
        .resolve(base)
    )
    lora = options.lora
    n_vocab = int(base.tensor("token_embd.weight").shape[1])
    drawn = np.random.default_rng(0).integers(0, n_vocab, 2 * arguments.tokens)
    tokens = [int(token) for token in drawn]
    result: dict[str, float | str | bool] = {"model": arguments.model.name, "rank": lora.rank}
    result |= measure_memory(arguments.model, options, tokens, engine=arguments.with_engine)
    if not arguments.memory_only:
        result |= measure_dequantization(base, options, tokens)
    value_bytes = choose_dtype(options.training.train_dtype).itemsize
    footprint = estimate(base, lora, n_tokens=options.update_len, value_bytes=value_bytes)
    largest = largest_layer(base)
    result["adapter_parameters"] = footprint.adapter_parameters
    result["estimate_bytes"] = footprint.total(checkpointing=False)
    result["estimate_checkpointed_bytes"] = footprint.total(checkpointing=True)
    result["allowed_bytes"] = (
        BYTES_PER_ADAPTER_PARAMETER * footprint.adapter_parameters
        + footprint.activations_checkpointed
        + 2 * largest * value_bytes
        + ALLOWED_OVERHEAD
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
