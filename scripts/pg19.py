"""The paper's experiments (arXiv 2401.11504, section 4.1) on any model and any books.

Usage: python scripts/pg19.py RESULTS.jsonl EXPERIMENT... --books FILE... [-m MODEL.gguf]
           [--tokens N] [--seed N]

EXPERIMENT is any of
  position   perplexity by position in the text, default settings
  block      Δ, the tokens between two updates
  policy     the KV cache: reuse, recompute, shift
  window     W short with Temp-LoRA against W long without: perplexity, FLOPs, time, KV memory
  rule       the update rule: learning rate, rank, alpha, epochs, L_T, layers, prefix gradient

Every run, one variant of one experiment on one book, adds a line of JSON to RESULTS.jsonl; runs
that are there already are skipped, so an interrupted command goes on where it stopped.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from flops import count

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.config import BlockOptions, LoraOptions
from templora_edge.gguf_base import GgufBase
from templora_edge.tasks.perplexity import PerplexityJob, PerplexityRun, Text

Settings = dict[str, Any]

PAPER: Final[Settings] = {
    "n_ctx": 1024,
    "block_len": 256,
    "learning_rate": 7e-4,
    "measure_after": False,
}
"""The paper's rule at the scale of the bundled model, whose learning rate is a larger one."""
LEAD: Final[Settings] = {
    "targets": "mlp",
    "prefix_gradient": False,
    "train_prefix_len": 128,
    "alpha": 256,
    "epochs": 1,
}
"""A prototype's lead to a cheap rule."""

EXPERIMENTS: Final[dict[str, dict[str, Settings]]] = {
    "position": {"paper": {}},
    "block": {f"Δ {n}": {"block_len": n, "prefix_len": 512} for n in (64, 128, 256, 512)},
    "policy": {name: {"kv_policy": name} for name in ("reuse", "recompute", "shift")},
    "window": {
        "W 256": {"n_ctx": 256, "block_len": 128},
        "W 512": {"n_ctx": 512},
        "W 1024": {},
    },
    "rule": {
        "paper": {},
        "lead": LEAD,
        "fast": {"preset": "fast"},
        "best": {"preset": "best"},
        "lead, no dropout": LEAD | {"dropout": 0.0},
        "lead, L_T 0": LEAD | {"train_prefix_len": 0},
        "lead, rank 16": LEAD | {"rank": 16, "alpha": 64},
        "lead, no dropout, L_T 64, rank 32": LEAD
        | {"dropout": 0.0, "train_prefix_len": 64, "rank": 32, "alpha": 128},
        "lead, rank 128": LEAD | {"rank": 128, "alpha": 512},
        "lead, Δ 128": LEAD | {"block_len": 128},
        "lead, 2 epochs": LEAD | {"epochs": 2, "alpha": 64},
        "lr 3.5e-4": {"learning_rate": 3.5e-4},
        "lr 1.4e-3": {"learning_rate": 1.4e-3},
        "rank 16": {"rank": 16},
        "rank 128": {"rank": 128},
        "rank 16, alpha 64": {"rank": 16, "alpha": 64},
        "1 epoch": {"epochs": 1},
        "1 epoch, alpha 256": {"epochs": 1, "alpha": 256},
        "L_T 0": {"train_prefix_len": 0},
        "L_T 128": {"train_prefix_len": 128},
        "L_T 512": {"train_prefix_len": 512},
        "MLP only": {"targets": "mlp"},
        "attention only": {"targets": "attention"},
        "prefix only read": {"prefix_gradient": False},
    },
}
"""Experiment -> variant -> what differs from `PAPER`."""


@dataclass(frozen=True)
class Run:
    """One line of the results."""

    experiment: str
    variant: str
    book: Path
    model: Path
    tokens: int
    seed: int

    @property
    def key(self) -> dict[str, Any]:
        """What makes it the same run."""
        return {
            "experiment": self.experiment,
            "variant": self.variant,
            "book": self.book.name,
            "model": self.model.name,
            "tokens": self.tokens,
            "seed": self.seed,
        }

    def measure(self) -> dict[str, Any]:
        """Score the book by the base and with Temp-LoRA."""
        settings = PAPER | EXPERIMENTS[self.experiment][self.variant] | {"seed": self.seed}
        text = Text(self.book.name, self.book.read_text(encoding="utf-8"))
        run = PerplexityRun(
            PerplexityJob((text,), self.model, settings, max_tokens=self.tokens, n_buckets=4)
        )
        for step in run:
            print(f"\r{step.done} of {step.total} ", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        result = run.result()
        names = BlockOptions.__dataclass_fields__, LoraOptions.__dataclass_fields__
        used = [{k: v for k, v in result["settings"].items() if k in fields} for fields in names]
        base = GgufBase(self.model)
        flops = count(base, BlockOptions(**used[0]), LoraOptions(**used[1]), self.tokens)
        return {"result": result, "curve": run.curve(), "flops": flops}


def wanted(arguments: argparse.Namespace) -> Iterator[Run]:
    """Every run that was asked for."""
    for experiment in arguments.experiments:
        for variant in EXPERIMENTS[experiment]:
            for book in arguments.books:
                yield Run(
                    experiment, variant, book, arguments.model, arguments.tokens, arguments.seed
                )


def main() -> None:
    """Parse arguments and do the runs that are missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("experiments", nargs="+", choices=EXPERIMENTS)
    parser.add_argument("--books", type=Path, nargs="+", required=True)
    parser.add_argument("-m", dest="model", type=Path, default=BUNDLED_MODEL)
    parser.add_argument("--tokens", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    done = []
    if arguments.results.exists():
        done = [json.loads(line)["run"] for line in arguments.results.read_text().splitlines()]
    machine = {
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": {name: version(name) for name in ("torch", "llama-cpp-python", "peft")},
    }
    for run in wanted(arguments):
        if run.key in done:
            continue
        print(run.key, file=sys.stderr, flush=True)
        line = json.dumps({"run": run.key} | run.measure() | {"machine": machine})
        with arguments.results.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    main()
