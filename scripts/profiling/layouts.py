"""Measure what llama.cpp's repacked weights gain and cost: speed, load time, private memory.

Usage: python -m scripts.profiling.layouts MODEL.gguf... [--threads 2] [--rounds 3]

Each round measures every model without and with them, each in a process of its own; medians over
rounds are printed as a table in Markdown, with the ratio of with to without.
"""

import argparse
from pathlib import Path

from scripts.profiling.engine_run import EngineRun, print_table


def main() -> None:
    """Parse the command line, measure, print."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.profiling.layouts", description=summary)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    runs: dict[tuple[Path, bool], list[EngineRun]] = {}
    for _ in range(given.rounds):
        for model in given.models:
            for repack in (False, True):
                process = EngineRun.start(model, n_threads=given.threads, repack=repack)
                runs.setdefault((model, repack), []).append(EngineRun.result(process))
    print_table(
        ("model", "prefill", "repacked", "ratio", "decode", "repacked", "ratio", "load", "repacked",
         "private", "repacked"),
        (_row(model, *(EngineRun.median(runs[model, repack]) for repack in (False, True)))
         for model in given.models),
    )  # fmt: skip


def _row(model: Path, plain: EngineRun, repacked: EngineRun) -> list[str]:
    row = [model.stem]
    for ours, theirs in ((plain.prefill, repacked.prefill), (plain.decode, repacked.decode)):
        row += [f"{ours:.1f}", f"{theirs:.1f}", f"{theirs / ours:.2f}"]
    row += [f"{run.load_s:.2f} s" for run in (plain, repacked)]
    return row + [f"{run.private_bytes >> 20} MiB" for run in (plain, repacked)]


if __name__ == "__main__":
    main()
