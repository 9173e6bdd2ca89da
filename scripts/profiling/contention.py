"""Measure how long threads should wait awake, on idle cores and where one core is taken.

Usage: python -m scripts.profiling.contention MODEL.gguf... [--spins default,1000,passive]
           [--threads 2] [--rounds 3] [--only write|learn|two]

A spin is a value of GOMP_SPINCOUNT, or passive: threads sleep at once, or default: libgomp's own.
Three tables: writing, learning a block, and writing in two processes at once (the mean of both). A
busy loop takes the last core. Each round measures all spins in turn, each in a process of its own;
the figures are medians over rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from scripts.profiling.engine_run import EngineRun, print_table

PREFILL: Final = 256
BLOCK: Final = 128
N_UPDATES: Final = 3
LONGEST: Final = 40.0
"""Seconds after which no more updates are begun."""
BUSY: Final = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"


def variables(spin: str) -> dict[str, str]:
    """The environment of a process whose threads wait as ``spin`` says."""
    if spin == "passive":
        return {"OMP_WAIT_POLICY": "passive"}
    return {"GOMP_SPINCOUNT": "300000" if spin == "default" else spin}


@contextmanager
def taken_core(taken: bool) -> Iterator[None]:
    """A busy loop on the last core, if ``taken``."""
    if not taken:
        yield
        return
    core = max(os.sched_getaffinity(0))
    with subprocess.Popen([sys.executable, "-c", BUSY, str(core)]) as loop:
        try:
            yield
        finally:
            loop.kill()


def write(model: Path, spin: str, n_threads: int, n_processes: int = 1) -> list[float]:
    """Tokens a second in prefill and decode, the mean of processes at once."""
    processes = [
        EngineRun.start(model, n_threads=n_threads, n_prefill=PREFILL, variables=variables(spin))
        for _ in range(n_processes)
    ]
    runs = [EngineRun.result(process) for process in processes]
    return [
        statistics.mean(run.prefill for run in runs),
        statistics.mean(run.decode for run in runs),
    ]


def learn(model: Path, spin: str, n_threads: int) -> list[float]:
    """Seconds of an update on a block, in the training process."""
    command = [sys.executable, "-m", "scripts.profiling.contention", "--update", str(model)]
    done = subprocess.run(
        [*command, "--threads", str(n_threads)],
        env=os.environ | variables(spin),
        stdout=subprocess.PIPE,
        check=True,
    )
    return [float(json.loads(done.stdout.splitlines()[-1]))]


def update_seconds(model: Path, n_threads: int) -> float:
    """Median seconds of updates after the first one."""
    from templora_edge.models.base_gguf import BaseGguf
    from templora_edge.options import Options
    from templora_edge.training.client import SidecarTrainer

    base = BaseGguf(model)
    options = Options().changed(n_ctx=4 * BLOCK, n_threads=n_threads, block_len=BLOCK)
    n_vocab = int(base.tensor("token_embd.weight").shape[1])
    drawn = np.random.default_rng(0).integers(0, n_vocab, (N_UPDATES + 2, BLOCK))
    blocks = [[int(token) for token in block] for block in drawn]
    seconds: list[float] = []
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as folder,
        SidecarTrainer(model, options.resolve(base), Path(folder)) as trainer,
    ):
        trainer.wait_ready()
        for prefix, block in pairwise(blocks):
            begun = time.perf_counter()
            trainer.train(prefix, block)
            seconds.append(time.perf_counter() - begun)
            if sum(seconds) > LONGEST:
                break
    return statistics.median(seconds[1:] or seconds)


def compare(
    measure: Callable[[Path, str], list[float]], models: list[Path], spins: list[str], rounds: int
) -> Iterator[list[str]]:
    """Rows of a table: model, spin, then each figure on idle cores, with one taken, their ratio."""
    found: dict[tuple[Path, str, bool], list[list[float]]] = {}
    for _ in range(rounds):
        for model in models:
            for taken in (False, True):
                for spin in spins:
                    with taken_core(taken):
                        found.setdefault((model, spin, taken), []).append(measure(model, spin))
    for model in models:
        for spin in spins:
            row = [model.stem, spin]
            idle, busy = (
                [
                    statistics.median(column)
                    for column in zip(*found[model, spin, taken], strict=True)
                ]
                for taken in (False, True)
            )
            for ours, theirs in zip(idle, busy, strict=True):
                row += [f"{ours:.4g}", f"{theirs:.4g}", f"{theirs / ours:.2f}"]
            yield row


def main() -> None:
    """Parse the command line, measure, print."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.profiling.contention", description=summary)
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--spins", default="default,1000,passive")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("write", "learn", "two"))
    parser.add_argument("--update", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.update:
        print(update_seconds(given.update, given.threads))
        return
    spins, n_threads = given.spins.split(","), given.threads
    speeds = ("prefill", "core taken", "ratio", "decode", "core taken", "ratio")
    if given.only in (None, "write"):
        rows = compare(partial(write, n_threads=n_threads), given.models, spins, given.rounds)
        print_table(("model", "spin", *speeds), rows)
    if given.only in (None, "learn"):
        rows = compare(partial(learn, n_threads=n_threads), given.models, spins, given.rounds)
        print_table(("model", "spin", "update, s", "core taken", "ratio"), rows)
    if given.only in (None, "two"):
        measure_two = partial(write, n_threads=n_threads, n_processes=2)
        rows = compare(measure_two, given.models, spins, given.rounds)
        print_table(("model", "spin", *speeds), rows)


if __name__ == "__main__":
    main()
