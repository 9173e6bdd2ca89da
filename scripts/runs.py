"""Runs of `templora perplexity`, a line of JSON each, for the scripts that make tables of them."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flops import count

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.evaluation.perplexity import PerplexityJob, PerplexityRun, Text
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import BlockOptions, LoraOptions

Settings = dict[str, Any]
"""Arguments of `TempLora`."""


def machine() -> dict[str, Any]:
    """What a run's times depend on, besides its settings."""
    return {
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": {name: version(name) for name in ("torch", "llama-cpp-python", "peft")},
    }


def versions(machine: Mapping[str, Any]) -> str:
    """In words."""
    return ", ".join(f"{name} {version}" for name, version in machine["versions"].items())


@dataclass(frozen=True)
class Run:
    """One variant of one experiment on one book."""

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

    def measure(self, settings: Settings) -> dict[str, Any]:
        """Score the book by the base and with Temp-LoRA."""
        text = Text(self.book.name, self.book.read_text(encoding="utf-8"))
        job = PerplexityJob(
            (text,),
            self.model,
            settings | {"seed": self.seed},
            max_tokens=self.tokens,
        )
        run = PerplexityRun(job)
        for step in run:
            print(f"\r{step.done} of {step.total} ", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        result = run.result()
        names = BlockOptions.__dataclass_fields__, LoraOptions.__dataclass_fields__
        used = [{k: v for k, v in result["settings"].items() if k in fields} for fields in names]
        base = GgufFile(self.model)
        flops = count(base, BlockOptions(**used[0]), LoraOptions(**used[1]), self.tokens)
        return {"result": result, "curve": run.curve(), "flops": flops}


def do_runs(
    description: str, experiments: Mapping[str, Mapping[str, Settings]], tokens: int
) -> None:
    """Parse arguments and do the runs that are missing.

    Args:
        experiments: experiment -> variant -> its settings.
        tokens: of each book, unless told otherwise.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("results", type=Path)
    parser.add_argument("experiments", nargs="+", choices=experiments)
    parser.add_argument("--books", type=Path, nargs="+", required=True)
    parser.add_argument("-m", dest="model", type=Path, default=BUNDLED_MODEL)
    parser.add_argument("--tokens", type=int, default=tokens)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-t", dest="threads", type=int, default=0, help="0: all physical cores")
    given = parser.parse_args()
    done = []
    if given.results.exists():
        done = [json.loads(line)["run"] for line in given.results.read_text().splitlines()]
    for experiment in given.experiments:
        for variant, settings in experiments[experiment].items():
            for book in given.books:
                run = Run(experiment, variant, book, given.model, given.tokens, given.seed)
                if run.key in done:
                    continue
                print(run.key, file=sys.stderr, flush=True)
                line = {"run": run.key} | run.measure(settings | {"n_threads": given.threads})
                line["machine"] = machine()
                with given.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
