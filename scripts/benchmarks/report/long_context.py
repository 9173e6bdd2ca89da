"""The report of `scripts.benchmarks.long_context`: a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from scripts.benchmarks.long_context import FACTORS, TRAINED
from scripts.benchmarks.report.figures import by_variant, conditions, figures_of
from scripts.benchmarks.runs import Line
from scripts.benchmarks.tables import table

Figures = Mapping[str, Mapping[str, Any]]
"""Variant -> figures of all its books."""
INTRO: Final = """Perplexity of books of PG19's test set (Project Gutenberg's numbers), read from
their beginning with a context of 1, 2, 4 and 8 times the 2,048 tokens that the model was trained
on: by the base as it is, and by the methods that go past the trained context, each without
Temp-LoRA → with it (change). Both score the same tokens in one run. A context that
is full keeps half of itself, which is decoded again; `shift` drops the older half instead and
shifts the positions of the rest. SelfExtend is `--self-extend auto`; linear and YaRN scale
positions by 1 / factor, without any training for it. Bold: the lowest of a column."""


def report(lines: list[Line], _: Path) -> list[str]:
    """Paragraphs of the report: a table with a row per method and a column per context."""
    figures = {variant: figures_of(runs) for variant, runs in by_variant(lines).items()}
    best = {
        min(some, key=lambda variant: figures[variant]["templora"])
        for factor in FACTORS
        if (some := [variant for variant in figures if variant.endswith(f" {factor}")])
    }
    methods = dict.fromkeys(variant.rpartition(" ")[0] for variant in figures)
    rows = [
        [method, *(cell(figures, f"{method} {factor}", best) for factor in FACTORS)]
        for method in methods
    ]
    head = ["method", *(f"{factor} × = {factor * TRAINED:,}" for factor in FACTORS)]
    return [
        "# Past the trained context",
        INTRO,
        conditions(lines, "long_context"),
        table(head, rows),
        findings(figures),
    ]


def cell(figures: Figures, variant: str, best: set[str]) -> str:
    """A cell of the table: perplexity without Temp-LoRA → with it."""
    if variant not in figures:
        return "as base"
    found = figures[variant]
    text = f"{found['base']:.1f} → {found['templora']:.1f} ({found['change']:+.1f} %)"
    return f"**{text}**" if variant in best else text


def findings(figures: Figures) -> str:
    """A sentence on what the table says about SelfExtend and Temp-LoRA."""
    trained = figures["base 1"]["base"]
    changes = ", ".join(
        f"{factor} ×: {100 * (figures[f'SelfExtend {factor}']['base'] / trained - 1):+.1f} %"
        for factor in FACTORS
        if f"SelfExtend {factor}" in figures
    )
    higher = [variant for variant, found in figures.items() if found["change"] >= 0]
    lowers = f"Temp-LoRA lowers {len(figures) - len(higher)} of {len(figures)} cells"
    if higher:
        lowers += f"; not {', '.join(higher)}"
    return (
        "SelfExtend against the base within its context, both without Temp-LoRA: "
        f"{changes}. {lowers}."
    )
