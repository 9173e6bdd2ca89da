"""Tables and pictures of what `pg19.py` measured, as Markdown.

Usage: python scripts/pg19_report.py RESULTS.jsonl OUT.md

All runs of one variant are one row, their tokens pooled. Pictures go beside OUT.md.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from templora_edge.cli.plot import plot_perplexity
from templora_edge.metrics import Comparison, Score

Line = dict[str, Any]

TITLES: Final = {
    "position": "(a) Perplexity by position",
    "block": "(b) Δ, the tokens between two updates",
    "policy": "(c) The KV cache across swaps",
    "window": "(d) A short window with Temp-LoRA against a long one without",
    "rule": "(e) The update rule",
}
PAPER: Final = {
    "position": "The paper, Llama-2-7B on books of PG19: 13.2 % less over a subset, 3.6 % up to "
    "100K tokens; the gain grows with position.",
    "block": "The paper: a larger Δ costs little.",
    "policy": "The paper: reuse costs nothing against recompute.",
    "window": "The paper: a shorter window with Temp-LoRA, 3.8 % less perplexity with 51.5 % less "
    "memory and 60.0 % less latency.",
    "rule": "The paper's rule: all linear layers, rank = alpha = 64, 2 epochs.",
}
"""What the paper says, which is comparable in shape, not in level."""


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def pooled(figures: list[Line]) -> Line:
    """Figures over all tokens of several runs."""
    tokens = sum(f["tokens"] for f in figures)
    sides = {
        side: float(np.exp(sum(f[side]["nll"] for f in figures) / tokens))
        for side in ("base", "templora")
    }
    change = 100 * (sides["templora"] / sides["base"] - 1)
    # errors of independent texts add up in squares, weighted by their tokens
    weighted = [f["tokens"] / tokens * (f["change_percent_se"] or 0) for f in figures]
    error = float(np.sqrt(np.sum(np.square(weighted))))
    return {"tokens": tokens, **sides, "change": change, "se": error}


def cells(figures: Line) -> list[str]:
    """Base, Temp-LoRA and the change between them."""
    return [
        f"{figures['base']:.2f}",
        f"{figures['templora']:.2f}",
        f"{figures['change']:+.1f} ± {figures['se']:.1f} %",
    ]


def by_position(lines: list[Line]) -> str:
    """A row a book, the change in each quarter of its tokens; all books together last."""
    books: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        books[line["run"]["book"]].append(line["result"]["files"][0])
    rows = []
    for name, files in [*books.items(), ("all", [f for fs in books.values() for f in fs])]:
        quarters = [pooled([f["buckets"][i] for f in files]) for i in range(4)]
        total = pooled(files)
        changes = [f"{quarter['change']:+.1f} %" for quarter in quarters]
        rows.append([name, f"{total['tokens']:,}", *cells(total), *changes])
    head = ["book", "tokens", "base", "Temp-LoRA", "change", "1st quarter", "2nd", "3rd", "4th"]
    return table(head, rows)


def by_variant(lines: list[Line]) -> str:
    """A row a variant: all its books together, the last quarter, and what it cost."""
    variants: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        variants[line["run"]["variant"]].append(line)
    first = next(iter(variants))
    baseline = sum(line["result"]["total"]["seconds"]["train"] for line in variants[first])
    rows = []
    for name, runs in variants.items():
        files = [line["result"]["files"][0] for line in runs]
        seconds = [line["result"]["total"]["seconds"] for line in runs]
        train = sum(s["train"] for s in seconds)
        swap = sum(s["convert"] + s["swap"] for s in seconds)
        last = pooled([f["buckets"][-1] for f in files])
        flops = [
            sum(line["flops"][part] for line in runs) / 1e12
            for part in ("base", "templora", "training")
        ]
        rows.append(
            [
                name,
                *cells(pooled(files)),
                f"{last['change']:+.1f} %",
                f"{sum(s['score_base'] for s in seconds):.0f}",
                f"{sum(s['score_templora'] for s in seconds):.0f}",
                f"{train:.0f} ({100 * train / baseline:.0f} %)",
                f"{swap:.0f}",
                " + ".join(f"{value:.1f}" for value in flops[1:]) + f" ({flops[0]:.1f})",
            ]
        )
    head = [
        "variant", "base", "Temp-LoRA", "change", "last quarter",
        "base s", "scoring s", "training s", "swaps s", "TFLOP²",
    ]  # fmt: skip
    return table(head, rows)


def main() -> None:
    """Parse arguments and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    lines = [json.loads(line) for line in arguments.results.read_text().splitlines()]
    parts = ["# PG19"]
    for experiment, title in TITLES.items():
        chosen = [line for line in lines if line["run"]["experiment"] == experiment]
        if not chosen:
            continue
        parts += [f"## {title}", PAPER[experiment]]
        for model in sorted({line["run"]["model"] for line in chosen}):
            own = [line for line in chosen if line["run"]["model"] == model]
            parts += [f"`{model}`:", (by_position if experiment == "position" else by_variant)(own)]
            if experiment == "position":
                picture = arguments.out.with_name(f"{Path(model).stem}.svg")
                curves = [line["curve"] for line in own]
                plot_perplexity(joined(curves), picture)
                parts.append(f"![perplexity by position]({picture.name})")
    parts.append("² scoring + training (the base's scoring): scripts/flops.py")
    arguments.out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def joined(curves: list[list[Line]]) -> list[Line]:
    """Curves of several texts as one."""
    points = []
    for parts in zip(*curves, strict=True):
        sides = {
            side: Score(
                tuple(part[side]["nll"] for part in parts), tuple(part["tokens"] for part in parts)
            )
            for side in ("base", "templora")
        }
        comparison = Comparison(sides["base"], sides["templora"])
        points.append(
            {
                "begin": parts[0]["begin"],
                "end": parts[0]["end"],
                "base": {"ppl": sides["base"].ppl},
                "templora": {"ppl": sides["templora"].ppl},
                "change_percent": comparison.change_percent,
                "change_percent_se": comparison.change_percent_se,
            }
        )
    return points


if __name__ == "__main__":
    main()
