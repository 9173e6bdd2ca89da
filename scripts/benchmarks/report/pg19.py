"""The report of `scripts.benchmarks.pg19`: tables and plots.

All runs of a variant form one row, with their tokens pooled.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from scripts.benchmarks.pg19 import EXPERIMENTS
from scripts.benchmarks.report.figures import by_variant, conditions, figures_of, pooled
from scripts.benchmarks.runs import Line
from scripts.benchmarks.tables import table
from templora_edge.cli.plot import plot_perplexity
from templora_edge.evaluation.metrics import Comparison
from templora_edge.score import Score

INTRO: Final = """Books of PG19's test set that the paper evaluates on (Project Gutenberg's
numbers), each read from its beginning. Base and Temp-LoRA score the same tokens in one run; a block
is scored before it is trained on. Perplexity is per token of the model's own tokenizer, so the
paper's levels cannot be compared; its trends can. ± is the standard error of the paired difference
over blocks."""
TITLES: Final = {
    "position": "(a) Perplexity by position",
    "block": "(b) Δ, the tokens between two updates",
    "policy": "(c) The KV cache across swaps",
    "window": "(d) A short window with Temp-LoRA against a long one without",
    "rule": "(e) The update rule",
    "rate": "Pretrained models, by learning rate",
    "chance": "Variation between seeds",
}
PAPER: Final = {
    "position": "The paper, Llama-2-7B on books of PG19: 13.2 % less over a subset, 3.6 % up to "
    "100K tokens; the gain grows with position. Here: the preset `default`, which is the paper's "
    "rule.",
    "block": "The paper: a larger Δ costs little.",
    "policy": "The paper: reuse costs nothing against recompute. L_X 512: with the default, W - Δ, "
    "a block fills the window and all policies but `shift` decode it all again.",
    "window": "The paper: a shorter window with Temp-LoRA, 3.8 % less perplexity with 51.5 % less "
    "memory and 60.0 % less latency. Seconds with Temp-LoRA are those of scoring, training and "
    "swaps; those of the base are of scoring.",
    "rule": "The paper's rule: all linear layers, rank = alpha = 64, 2 epochs, L_T 256; each row "
    "says what differs. `lead` is a rule found earlier on one book of another base: MLP only, the "
    "prefix only read, L_T 128, alpha 256, one epoch (docs/log.md).",
    "rate": "The paper's rule and `fast`, at learning rates from the paper's own upwards. L_X 512.",
    "chance": "The same rules on the same book; the seed is that of A's first values and "
    "of dropout.",
}
"""Experiment -> what the paper says, which is comparable in trend, not in level."""


def cells(figures: Mapping[str, Any]) -> list[str]:
    """Cells with the perplexity of base and Temp-LoRA, and the change between them."""
    return [
        f"{figures['base']:.2f}",
        f"{figures['templora']:.2f}",
        f"{figures['change']:+.1f} ± {figures['se']:.1f} %",
    ]


def position_table(lines: list[Line]) -> str:
    """A row per book, with the change in each quarter of its tokens; all books together last."""
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
                f"{seconds_of(runs, 'score_base'):.0f}",
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


def tflop_of(runs: list[Line], *parts: str) -> float:
    """Floating-point operations of ``parts`` of all ``runs``, in 10^12."""
    return float(sum(run["flops"][part] for run in runs for part in parts)) / 1e12


def window_table(lines: list[Line]) -> str:
    """A row per window: its cost with and without Temp-LoRA."""
    rows = []
    for name, runs in by_variant(lines).items():
        figures = figures_of(runs)
        train = seconds_of(runs, "train")
        spent = seconds_of(runs, "score_templora", "convert", "swap") + train
        rows.append(
            [
                name,
                f"{runs[0]['flops']['kv_bytes'] / 2**20:.2f}",
                *cells(figures),
                f"{seconds_of(runs, 'score_base'):.0f}",
                f"{spent:.0f} ({train:.0f} of it training)",
                f"{tflop_of(runs, 'base'):.1f}",
                f"{tflop_of(runs, 'templora', 'training'):.1f}",
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
    books = list(dict.fromkeys(line["run"]["book"] for line in lines))
    rows = []
    for name, chosen in [*((book, [book]) for book in books), ("all", books)]:
        figures = [
            figures_of([run for run in runs if run["run"]["book"] in chosen])
            for runs in variants.values()
        ]
        changes = [f"{one['change']:+.1f} ± {one['se']:.1f} %" for one in figures]
        rows.append([name, f"{figures[0]['base']:.2f}", *changes])
    times = [[seconds_of(runs, step) for step in STEPS] for runs in variants.values()]
    rows.append(["training s", "", *(f"{one[0]:.0f}" for one in times)])
    rows.append(["scoring s", f"{times[0][2]:.0f}", *(f"{one[1]:.0f}" for one in times)])
    return table(["book", "base", *variants], rows)


STEPS: Final = ("train", "score_templora", "score_base")
TABLES: Final = {"position": position_table, "window": window_table, "rate": rate_table}


def joined(curves: list[list[Line]]) -> list[Line]:
    """Pool the curves of several texts into one."""
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
                plot_perplexity(joined([line["curve"] for line in own]), picture)
                parts.append(f"![perplexity by position]({picture.name})")
    if any("TFLOP" in part for part in parts):
        parts.append("TFLOP: counted (scripts/profiling/flops.py).")
    return parts
