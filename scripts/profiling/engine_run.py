"""One measurement of llama.cpp in a process of its own, for the scripts that compare settings."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np

PREFILL = 512
DECODE = 32


@dataclass(frozen=True)
class EngineRun:
    """What one process measured."""

    load_s: float
    prefill: float
    """Tokens a second, one batch of `PREFILL`."""
    decode: float
    """Tokens a second, `DECODE` one by one after `PREFILL`."""
    private_bytes: int
    """Private memory of the process at its end."""

    @classmethod
    def measure(
        cls,
        model: Path,
        *,
        n_threads: int,
        repack: bool = False,
        environment: Mapping[str, str | None] | None = None,
        repetitions: int = 2,
    ) -> Self:
        """Measure in a new process; ``environment`` adds variables to it, or removes them."""
        variables: dict[str, str] = dict(os.environ)
        for name, value in (environment or {}).items():
            variables.pop(name, None)
            if value is not None:
                variables[name] = value
        arguments = [str(model), str(n_threads), str(int(repack)), str(repetitions)]
        done = subprocess.run(
            [sys.executable, "-m", "scripts.profiling.engine_run", *arguments],
            env=variables,
            stdout=subprocess.PIPE,
            check=True,
        )
        return cls(**json.loads(done.stdout.splitlines()[-1]))

    @classmethod
    def median(cls, runs: Sequence[Self]) -> Self:
        """The median of each figure."""
        rows = [asdict(run) for run in runs]
        return cls(**{name: statistics.median(row[name] for row in rows) for name in rows[0]})


def _measure(model: Path, n_threads: int, *, repack: bool, repetitions: int) -> EngineRun:
    from templora_edge.engine import LlamaEngine
    from templora_edge.host import memory
    from templora_edge.options import EngineOptions

    options = EngineOptions(n_ctx=2 * PREFILL, n_threads=n_threads, repack=repack)
    begun = time.perf_counter()
    with LlamaEngine(model, options) as engine:
        load_s = time.perf_counter() - begun
        n_vocab = engine.model.vocab.n_tokens
        tokens = [int(one) for one in np.random.default_rng(0).integers(0, n_vocab, PREFILL)]
        engine.decode(tokens[:64])
        prefills, decodes = [], []
        for _ in range(repetitions):
            engine.clear()
            begun = time.perf_counter()
            engine.decode(tokens)
            prefills.append(PREFILL / (time.perf_counter() - begun))
            begun = time.perf_counter()
            for token in tokens[:DECODE]:
                engine.decode([token])
            decodes.append(DECODE / (time.perf_counter() - begun))
        private = memory.private()
    return EngineRun(load_s, statistics.median(prefills), statistics.median(decodes), private)


if __name__ == "__main__":
    path, threads, repacked, times = sys.argv[1:]
    run = _measure(
        Path(path), int(threads), repack=repacked == "1", repetitions=int(times)
    )
    print(json.dumps(asdict(run)))
