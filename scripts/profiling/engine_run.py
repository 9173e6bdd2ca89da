"""One measurement of llama.cpp, in a process of its own: speed, load time and private memory.

Usage: python -m scripts.profiling.engine_run MODEL.gguf [--threads N] [--repack] [--tokens N]

The last line is JSON. `layouts` and `contention` compare runs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np

PREFILL: Final = 512
DECODE: Final = 32
"""Tokens that are decoded one by one at most, after `PREFILL` in one batch."""
LONGEST: Final = 3.0
"""Seconds after which decoding one by one is stopped."""
REPETITIONS: Final = 2


@dataclass(frozen=True)
class EngineRun:
    """Figures of one process; speeds in tokens a second."""

    load_s: float
    prefill: float
    decode: float
    private_bytes: int
    """Private memory of the process at its end."""

    @classmethod
    def start(
        cls,
        model: Path,
        *,
        n_threads: int,
        repack: bool = False,
        n_prefill: int = PREFILL,
        variables: Mapping[str, str] | None = None,
    ) -> "subprocess.Popen[bytes]":
        """Begin to measure in a new process with ``variables`` in its environment."""
        command = [sys.executable, "-m", "scripts.profiling.engine_run", str(model)]
        command += ["--threads", str(n_threads), "--tokens", str(n_prefill)]
        command += ["--repack"] if repack else []
        return subprocess.Popen(
            command, env=os.environ | dict(variables or {}), stdout=subprocess.PIPE
        )

    @classmethod
    def result(cls, process: "subprocess.Popen[bytes]") -> Self:
        """Figures of the process, when it has ended.

        Raises:
            ChildProcessError: it failed.
        """
        output, _ = process.communicate()
        if process.returncode != 0:
            raise ChildProcessError(f"a measurement ended with status {process.returncode}")
        return cls(**json.loads(output.splitlines()[-1]))

    @classmethod
    def median(cls, runs: Sequence[Self]) -> Self:
        """The median of each figure."""
        rows = [asdict(run) for run in runs]
        return cls(**{name: statistics.median(row[name] for row in rows) for name in rows[0]})


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table in Markdown."""
    for row in (headings, ["---"] * len(headings), *rows):
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


def _measure(model: Path, n_threads: int, n_prefill: int, *, repack: bool) -> EngineRun:
    # the parent needs none of them
    from templora_edge.engine import LlamaEngine
    from templora_edge.host import memory
    from templora_edge.options import EngineOptions

    options = EngineOptions(n_ctx=2 * n_prefill + DECODE, n_threads=n_threads, repack=repack)
    begun = time.perf_counter()
    with LlamaEngine(model, options) as engine:
        load_s = time.perf_counter() - begun
        drawn = np.random.default_rng(0).integers(0, engine.model.vocab.n_tokens, n_prefill)
        tokens = [int(one) for one in drawn]
        engine.decode(tokens[:32])  # buffers, and pages of the file
        prefills, decodes = [], []
        for _ in range(REPETITIONS):
            engine.clear()
            begun = time.perf_counter()
            engine.decode(tokens)
            prefills.append(n_prefill / (time.perf_counter() - begun))
            begun, n_decoded = time.perf_counter(), 0
            while n_decoded < DECODE and time.perf_counter() - begun < LONGEST:
                engine.decode([tokens[n_decoded]])
                n_decoded += 1
            decodes.append(n_decoded / (time.perf_counter() - begun))
        private = memory.private()
    return EngineRun(load_s, statistics.median(prefills), statistics.median(decodes), private)


def main() -> None:
    """Parse the command line, measure, print."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.profiling.engine_run", description=summary)
    parser.add_argument("model", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=PREFILL)
    parser.add_argument("--repack", action="store_true")
    given = parser.parse_args()
    run = _measure(given.model, given.threads, given.tokens, repack=given.repack)
    print(json.dumps(asdict(run)))


if __name__ == "__main__":
    main()
