"""Figures of scored books, pooled by variant, and the conditions of the runs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scripts.benchmarks.runs import Line
from scripts.benchmarks.tables import versions


def pooled(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Figures over all tokens of several texts, or of parts of texts."""
    tokens = sum(f["tokens"] for f in figures)
    sides = {
        side: float(np.exp(sum(f[side]["nll"] for f in figures) / tokens))
        for side in ("base", "templora")
    }
    change = 100 * (sides["templora"] / sides["base"] - 1)
    # errors of independent texts add in quadrature, weighted by tokens
    weighted = [f["tokens"] / tokens * (f["change_percent_se"] or 0) for f in figures]
    error = float(np.sqrt(np.sum(np.square(weighted))))
    return {"tokens": tokens, **sides, "change": change, "se": error}


def by_variant(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """Variant -> its runs; the variant's name includes the seed if runs differ in that."""
    variants: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        name = line["run"]["variant"]
        if line["run"]["experiment"] == "chance":
            name += f", seed {line['run']['seed']}"
        variants[name].append(line)
    return variants


def figures_of(lines: Sequence[Line]) -> dict[str, Any]:
    """Figures of all books in ``lines`` together."""
    return pooled([line["result"]["files"][0] for line in lines])


def conditions(lines: Sequence[Line], benchmark: str) -> str:
    """Command and machine of the runs of one experiment."""
    run, result, machine = lines[0]["run"], lines[0]["result"], lines[0]["machine"]
    books = dict.fromkeys(line["run"]["book"] for line in lines)
    settings = result["settings"]
    return (
        f"`python -m scripts.benchmarks.{benchmark} RESULTS.jsonl {run['experiment']} "
        f"--books {' '.join(books)} --tokens {run['tokens']} -t {settings['n_threads']} "
        f"-m MODEL`: seed {run['seed']}, {versions(machine)}; a machine of {machine['cpus']} cores."
    )
