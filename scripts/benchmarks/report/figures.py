"""Figures of scored books, pooled by variant, and the conditions of the runs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scripts.benchmarks.runs import Line
from scripts.benchmarks.tables import versions


def pooled(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Figures over all tokens of several texts, or of parts of texts.

    Those of Temp-LoRA and of its change are None for texts that the base alone scored.
    """
    tokens = sum(f["tokens"] for f in figures)
    base_only = any(f["templora"] is None for f in figures)
    sides = {
        side: float(np.exp(sum(f[side]["nll"] for f in figures) / tokens))
        for side in (("base",) if base_only else ("base", "templora"))
    }
    if base_only:
        return {"tokens": tokens, **sides, "templora": None, "change": None, "se": None}
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
        if line["run"]["experiment"] == "seeds":
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
    seeds = " ".join(str(seed) for seed in sorted({line["run"]["seed"] for line in lines}))
    settings = result["settings"]
    return (
        f"`python -m scripts.benchmarks.{benchmark} RESULTS.jsonl {run['experiment']} "
        f"--books {' '.join(books)} --tokens {run['tokens']} --seeds {seeds} "
        f"-t {settings['n_threads']} -m MODEL`: {versions(machine)}; a machine of "
        f"{machine['cpus']} cores."
    )
