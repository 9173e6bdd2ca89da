"""The report of `scripts.benchmarks.pg19`: tables and plots.

All runs of a variant form one row, with their tokens pooled.
"""

from collections import defaultdict
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from scripts.benchmarks.pg19 import EXPERIMENTS
from scripts.benchmarks.report.figures import by_variant, conditions, figures_of, pooled
from scripts.benchmarks.runs import Line
from scripts.benchmarks.tables import table
from templora_edge.cli.plot import plot_perplexity
from templora_edge.evaluation.metrics import Comparison
from templora_edge.score import Score

INTRO: Final = """Books of PG19's test set (Project Gutenberg's numbers), each read from its
beginning. Base and Temp-LoRA score the same tokens; a block is scored before it is trained on.
Perplexity is per token of the model's own tokenizer, so the paper's levels cannot be compared; its
trends can. ± is the standard error of the paired difference over blocks. Seconds of the base are
missing where its scores were kept from another run."""
TITLES: Final = {
    "position": "Perplexity by position",
    "rate": "The learning rate",
    "block": "Δ, the tokens between two updates",
    "prefix": "L_X and L_T, the tokens before a block",
    "window": "A short window with Temp-LoRA against a long one without",
    "rule": "The update rule",
    "seeds": "Variation between seeds",
}
PAPER: Final = {
    "position": "The paper, Llama-2-7B on books of PG19: 13.2 % less over a subset, 3.6 % up to "
    "100K tokens; the gain grows with position. Here: the default settings, W 1,024.",
    "rate": "`auto`, which finds the rate while it reads, and fixed rates.",
    "block": "The paper: a larger Δ costs little. L_X 512.",
    "prefix": "L_X is kept when the context is full, and decoded again; an update sees L_T tokens "
    "before the block that it learns.",
    "window": "The paper: a shorter window with Temp-LoRA, 3.8 % less perplexity with 51.5 % less "
    "memory and 60.0 % less latency. Seconds with Temp-LoRA are those of scoring, training and "
    "swaps; those of the base are of scoring.",
    "rule": "The presets, and the default with other layers; a model of fewer layers has the "
    "adapter on all of them.",
    "seeds": "The same rules on the same books; the seed is that of A's first values and of "
    "dropout.",
}
"""Experiment -> what the paper says, which is comparable in trend, not in level, and what is
compared here."""
QUARTERS: Final = ("1st quarter", "2nd", "3rd", "4th")
STEPS: Final = ("train", "score_templora")
ALL: Final = "all"
"""Name of the row of all books together."""
NONE: Final = "-"
"""A cell for what was not measured."""


def change_of(figures: Mapping[str, Any]) -> str:
    """A cell with the change that Temp-LoRA makes, and its standard error."""
    if figures["change"] is None:
        return NONE
    return f"{figures['change']:+.1f} ± {figures['se']:.1f} %"


def cells(figures: Mapping[str, Any]) -> list[str]:
    """Cells with the perplexity of base and Temp-LoRA, and the change between them."""
    templora = figures["templora"]
    return [
        f"{figures['base']:.2f}",
        NONE if templora is None else f"{templora:.2f}",
        change_of(figures),
    ]


def by_book(lines: list[Line]) -> dict[str, list[Line]]:
    """Book -> its runs."""
    books: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        books[line["run"]["book"]].append(line)
    return books


def position_table(lines: list[Line]) -> str:
    """A row per book, with the change in each quarter of its tokens; all books together last.

    Where a book was scored with several seeds, these are the figures of the first, and a second
    table has all.
    """
    firsts = first_seeds(lines)
    rows = []
    for name, runs in [*((run["run"]["book"], [run]) for run in firsts), (ALL, firsts)]:
        files = [run["result"]["files"][0] for run in runs]
        quarters = [pooled([f["buckets"][i] for f in files]) for i in range(len(QUARTERS))]
        total = pooled(files)
        changes = [change_of(quarter) for quarter in quarters]
        rows.append([name, f"{total['tokens']:,}", *cells(total), *changes])
    found = table(["book", "tokens", "base", "Temp-LoRA", "change", *QUARTERS], rows)
    spread = seeds_table(lines)
    return f"{found}\n\n{spread}" if spread else found


def first_seeds(lines: list[Line]) -> list[Line]:
    """The run of each book with its lowest seed."""
    return [min(runs, key=lambda run: run["run"]["seed"]) for runs in by_book(lines).values()]


def seeds_table(lines: list[Line]) -> str:
    """A row per book that was scored with several seeds: the change with each, and the spread."""
    books = {name: runs for name, runs in by_book(lines).items() if len(runs) > 1}
    several = [run for runs in books.values() for run in runs]
    if len(books) > 1:
        books[ALL] = several
    seeds = sorted({run["run"]["seed"] for run in several})
    rows = []
    for name, runs in books.items():
        found = [[run for run in runs if run["run"]["seed"] == seed] for seed in seeds]
        figures = [figures_of(own) if own else None for own in found]
        changes = [one["change"] for one in figures if one]
        row = [NONE if one is None else change_of(one) for one in figures]
        rows.append([name, *row, f"{max(changes) - min(changes):.2f}"])
    head = ["book", *(f"seed {seed}" for seed in seeds), "spread, points"]
    return table(head, rows) if rows else ""


def variant_table(lines: list[Line]) -> str:
    """A row per variant: all its books together, the last quarter, and the cost."""
    variants = by_variant(lines)
    first = next(iter(variants))
    baseline = seconds_of(variants[first], "train")
    rows = []
    for name, runs in variants.items():
        files = [line["result"]["files"][0] for line in runs]
        train = seconds_of(runs, "train")
        last = pooled([f["buckets"][-1] for f in files])
        flops = [tflop_of(runs, part) for part in ("base", "templora", "training")]
        rows.append(
            [
                name,
                *cells(figures_of(runs)),
                f"{last['change']:+.1f} %",
                base_seconds(runs),
                f"{seconds_of(runs, 'score_templora'):.0f}",
                f"{train:.0f} ({100 * train / baseline:.0f} %)",
                f"{seconds_of(runs, 'convert', 'swap'):.0f}",
                f"{flops[1]:.1f} + {flops[2]:.1f} ({flops[0]:.1f})",
            ]
        )
    head = [
        "variant", "base", "Temp-LoRA", "change", "last quarter",
        "base s", "scoring s", "training s", "swaps s", "TFLOP: scoring + training (base)",
    ]  # fmt: skip
    return table(head, rows)


def seconds_of(runs: list[Line], *steps: str) -> float:
    """Time that ``steps`` took in all ``runs``."""
    return float(sum(run["result"]["total"]["seconds"][step] for run in runs for step in steps))


def base_seconds(runs: list[Line]) -> str:
    """A cell with the time that the base took, unless scores of another run were read."""
    if any(run["result"]["total"]["seconds"]["score_base"] == 0 for run in runs):
        return NONE
    return f"{seconds_of(runs, 'score_base'):.0f}"


def tflop_of(runs: list[Line], *parts: str) -> float:
    """Floating-point operations of ``parts`` of all ``runs``, in 10^12."""
    return float(sum(run["flops"][part] for run in runs for part in parts)) / 1e12


def window_table(lines: list[Line]) -> str:
    """A row per window: its cost with and without Temp-LoRA."""
    rows = []
    for name, runs in by_variant(lines).items():
        figures = figures_of(runs)
        spent = [NONE, NONE]
        if figures["templora"] is not None:
            train = seconds_of(runs, "train")
            seconds = seconds_of(runs, "score_templora", "convert", "swap") + train
            tflop = tflop_of(runs, "templora", "training")
            spent = [f"{seconds:.0f} ({train:.0f} of it training)", f"{tflop:.1f}"]
        rows.append(
            [
                name,
                f"{runs[0]['flops']['kv_bytes'] / 2**20:.2f}",
                *cells(figures),
                base_seconds(runs),
                spent[0],
                f"{tflop_of(runs, 'base'):.1f}",
                spent[1],
            ]
        )
    head = [
        "window", "KV cache, MiB", "base", "Temp-LoRA", "change",
        "base s", "Temp-LoRA s", "base TFLOP", "Temp-LoRA TFLOP",
    ]  # fmt: skip
    return table(head, rows)


def rate_table(lines: list[Line]) -> str:
    """A row per book, with the base and the change by each variant; all books together last."""
    variants = by_variant(lines)
    books = list(by_book(lines))
    rows = []
    for name, chosen in [*((book, [book]) for book in books), (ALL, books)]:
        figures = [
            figures_of([run for run in runs if run["run"]["book"] in chosen])
            for runs in variants.values()
        ]
        rows.append([name, f"{figures[0]['base']:.2f}", *map(change_of, figures)])
    times = [[seconds_of(runs, step) for step in STEPS] for runs in variants.values()]
    rows.append(["training s", "", *(f"{one[0]:.0f}" for one in times)])
    rows.append(["scoring s", "", *(f"{one[1]:.0f}" for one in times)])
    return table(["book", "base", *variants], rows)


TABLES: Final = {"position": position_table, "window": window_table, "rate": rate_table}


def joined(curves: list[list[Line]]) -> list[Line]:
    """Pool the curves of several texts, which may end at different points, into one."""
    points = []
    for padded in zip_longest(*curves):
        parts = [part for part in padded if part is not None]
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


def report(lines: list[Line], out: Path) -> list[str]:
    """Paragraphs of the report; plots are written beside ``out``."""
    parts = ["# PG19", INTRO]
    for experiment, title in TITLES.items():
        chosen = [line for line in lines if line["run"]["experiment"] == experiment]
        if not chosen:
            continue
        order = list(EXPERIMENTS[experiment])
        chosen.sort(key=lambda line: (order.index(line["run"]["variant"]), line["run"]["seed"]))
        parts += [f"## {title}", PAPER[experiment], conditions(chosen, "pg19")]
        for model in sorted({line["run"]["model"] for line in chosen}):
            own = [line for line in chosen if line["run"]["model"] == model]
            parts += [f"`{model}`:", TABLES.get(experiment, variant_table)(own)]
            if experiment == "position":
                picture = out.with_name(f"pg19-{Path(model).stem}.svg")
                plot_perplexity(joined([line["curve"] for line in first_seeds(own)]), picture)
                parts.append(f"![perplexity by position]({picture.name})")
    if any("TFLOP" in part for part in parts):
        parts.append("TFLOP: counted (scripts/profiling/flops.py).")
    return parts
