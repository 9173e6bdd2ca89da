"""Benchmark runs, kept in a file of JSON lines so that none is done twice."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from scripts.benchmarks.models import add_model
from scripts.profiling.flops import count
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.evaluation.perplexity import NamedText, PerplexityJob, PerplexityRun
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import Options

Settings = dict[str, Any]
"""Options of a session, by name."""
Line = dict[str, Any]
"""A run: its key (`run`), its measurements, and the machine."""


class Results:
    """The runs in a file, one JSON line each; new runs are appended."""

    def __init__(self, path: Path) -> None:
        self._path, self.lines = path, list[Line]()
        self.base_scores = path.with_suffix(".scores")
        """Folder beside the file for scores of bases, which variants of a rule share."""
        if path.exists():
            self.lines = [json.loads(line) for line in path.read_text().splitlines()]

    def __contains__(self, key: Mapping[str, Any]) -> bool:
        return any(line["run"] == key for line in self.lines)

    def add(self, key: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
        """Append the run ``key``, its measurements and this machine to the file."""
        line: Line = {"run": dict(key), **measured, "machine": machine()}
        self.lines.append(line)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def machine() -> dict[str, Any]:
    """The machine and library versions, on which the times of a run depend."""
    return {
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": {
            name: version(name) for name in ("torch", "llama-cpp-python", "peft", "transformers")
        },
    }


@dataclass(frozen=True)
class Trial:
    """One variant of one experiment on one book."""

    experiment: str
    variant: str
    book: Path
    model: Path
    tokens: int
    seed: int

    @property
    def key(self) -> dict[str, Any]:
        """The key that identifies the run."""
        return {
            "experiment": self.experiment,
            "variant": self.variant,
            "book": self.book.name,
            "model": self.model.name,
            "tokens": self.tokens,
            "seed": self.seed,
        }

    def measure(self, settings: Settings, base_scores: Path) -> dict[str, Any]:
        """Score the book with the base alone and, unless ``settings`` turn it off, Temp-LoRA.

        Args:
            settings: options that differ from the defaults.
            base_scores: folder with the scores of bases; one file a model and book stays small.
        """
        base_scores.mkdir(exist_ok=True)
        text = NamedText(self.book.name, self.book.read_text(encoding="utf-8"))
        job = PerplexityJob(
            (text,),
            self.model,
            Options().changed(**settings, seed=self.seed),
            max_tokens=self.tokens,
            base_scores=base_scores / f"{self.model.stem}-{self.book.stem}.json",
        )
        run = PerplexityRun(job)
        for step in run:
            print(f"\r{step.done} of {step.total} ", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        result = run.result()
        used = run.options
        flops = count(GgufFile(self.model), used, self.tokens)
        if not used.templora:
            flops = {part: flops[part] for part in ("base", "kv_bytes")}
        return {"result": result, "curve": run.curve(), "flops": flops}


def score_books(
    parser: argparse.ArgumentParser,
    experiments: Mapping[str, Mapping[str, Settings]],
    tokens: int,
) -> None:
    """Parse the command line and do the runs that are missing.

    Args:
        parser: parser to which the arguments are added.
        experiments: experiment -> variant -> settings.
        tokens: default number of tokens of each book.
    """
    parser.add_argument("results", type=Path, metavar="RESULTS.jsonl")
    parser.add_argument("experiments", nargs="+", choices=experiments)
    parser.add_argument("--books", type=Path, nargs="+", required=True, metavar="FILE")
    add_model(parser, BUNDLED_MODEL)
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--tokens", type=int, default=tokens, help="tokens of each book")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N")
    parser.add_argument("-t", dest="threads", type=int, default=0, help="0: all physical cores")
    given = parser.parse_args()
    known = [name for experiment in given.experiments for name in experiments[experiment]]
    if unknown := [name for name in given.variants or () if name not in known]:
        parser.error(
            f"--variants: {', '.join(map(repr, unknown))} is not a variant of "
            f"{', '.join(given.experiments)}; expected some of {', '.join(map(repr, known))}"
        )
    results = Results(given.results)
    for experiment, book, seed in product(given.experiments, given.books, given.seeds):
        for variant, settings in experiments[experiment].items():
            if given.variants and variant not in given.variants:
                continue
            trial = Trial(experiment, variant, book, given.model, given.tokens, seed)
            if trial.key in results:
                continue
            print(trial.key, file=sys.stderr, flush=True)
            used = settings | {"n_threads": given.threads}
            results.add(trial.key, trial.measure(used, results.base_scores))
