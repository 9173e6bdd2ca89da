"""The table of what `long_context.py` measured, as Markdown.

Usage: python scripts/long_context_report.py RESULTS.jsonl OUT.md
"""

import argparse
import json
from pathlib import Path
from typing import Final

from long_context import FACTORS, TRAINED
from pg19_report import Line, conditions, of_variants, pooled, table

INTRO: Final = """Perplexity of books of PG19's test set (Project Gutenberg's numbers), read from
their beginning with a context of 1, 2, 4 and 8 times the 2,048 tokens that the model was trained
on: by the base as it is, and by the methods that go past the trained context, each without
Temp-LoRA → with it (preset `fast`; change). Both score the same tokens in one run. A context that
is full keeps half of itself, which is decoded again; `shift` drops the older half instead and
shifts the positions of the rest. SelfExtend is `--self-extend auto`; linear and YaRN scale
positions by 1 / factor, without any training for it. Bold: the lowest of a column."""


def main() -> None:
    """Parse arguments and write: a row a method, a column a context."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    lines = [json.loads(line) for line in given.results.read_text().splitlines()]
    figures = {
        variant: pooled([line["result"]["files"][0] for line in some])
        for variant, some in of_variants(lines).items()
    }
    best = {
        min(
            (v for v in figures if v.endswith(f" {factor}")),
            key=lambda variant: figures[variant]["templora"],
        )
        for factor in FACTORS
    }
    methods = dict.fromkeys(variant.rpartition(" ")[0] for variant in figures)
    rows = [
        [method, *(cell(figures, f"{method} {factor}", best) for factor in FACTORS)]
        for method in methods
    ]
    head = ["method", *(f"{factor} × = {factor * TRAINED:,}" for factor in FACTORS)]
    parts = [
        "# Past the trained context",
        INTRO,
        conditions(lines, "long_context.py"),
        table(head, rows),
        findings(figures),
    ]
    given.out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def cell(figures: dict[str, Line], variant: str, best: set[str]) -> str:
    """Without Temp-LoRA → with it."""
    if variant not in figures:
        return "as base"
    found = figures[variant]
    text = f"{found['base']:.1f} → {found['templora']:.1f} ({found['change']:+.1f} %)"
    return f"**{text}**" if variant in best else text


def findings(figures: dict[str, Line]) -> str:
    """What the table says of SelfExtend, and of Temp-LoRA."""
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


if __name__ == "__main__":
    main()
