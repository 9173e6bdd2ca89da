"""The report of `scripts.benchmarks.own_text`: tables, and samples of the texts."""

from collections.abc import Callable, Sequence
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Final

from scripts.benchmarks.runs import Line
from scripts.benchmarks.tables import table, versions

BASELINE: Final = "none"
"""The variant that the others are compared with."""
SAMPLE: Final = 60
"""Words that a sample shows of a text's beginning, and of its end."""
INTRO: Final = """What a model writes by itself, without Temp-LoRA (`none`) and with it, by quarter
of the text: mean ± standard error over prompts and seeds, and in brackets the difference to `none`,
paired by prompt and seed. The judge is another base without Temp-LoRA, which reads the text in
a window of 1,024 tokens."""
MEASURES: Final = {
    "repeated": ("Words in 8-grams that occurred earlier in the text, %", 100),
    "distinct": ("Distinct 4-grams of words within the quarter, %", 100),
    "perplexity": ("Perplexity under the judge", 1),
}
"""Measure by quarter -> title and factor."""
AFTER_STORY: Final = """After a story: the perplexity of its real next 2,000 tokens with the adapter
as absorbing left it, and the use of its names in what the model wrote: the share of capitalised
words within sentences that are names of the story, and how many different ones."""

Figure = Callable[[Line], float]
"""A figure of a run."""


def report(lines: list[Line], _: Path) -> list[str]:
    """Paragraphs of the report: a section for each model and way of starting a text."""
    parts = ["# Own text", INTRO]
    shared = ("model", "judge", "absorbed", "tokens", "n_ctx", "repeat_penalty")
    for group in dict.fromkeys(tuple(line["run"][key] for key in shared) for line in lines):
        chosen = [line for line in lines if tuple(line["run"][key] for key in shared) == group]
        parts += section(chosen)
    return parts


def section(lines: list[Line]) -> list[str]:
    """The section of runs that differ in variant, prompt and seed only."""
    run, machine = lines[0]["run"], lines[0]["machine"]
    starts = dict.fromkeys(line["run"]["start"] for line in lines)
    seeds = dict.fromkeys(line["run"]["seed"] for line in lines)
    title = f"after {run['absorbed']:,} tokens of a story" if run["absorbed"] else "from prompts"
    parts = [
        f"## {run['model']}, {title}",
        f"{run['tokens']:,} tokens from {', '.join(starts)}; seeds {', '.join(map(str, seeds))}; "
        f"-c {run['n_ctx']}, --repeat-penalty {run['repeat_penalty']}; judge {run['judge']}; "
        f"{versions(machine)}; a machine of {machine['cpus']} cores.",
    ]
    for measure, (heading, factor) in MEASURES.items():
        columns = {f"{part + 1}. quarter": quarter_of(measure, part, factor) for part in range(4)}
        parts += [f"{heading}:", figures_table(lines, columns)]
    if run["absorbed"]:
        columns = {
            "perplexity of the continuation": lambda line: float(line["continuation"]),
            "names, %": lambda line: 100 * float(line["names_share"]),
            "different names": lambda line: float(line["names_used"]),
        }
        known = f"The story has {lines[0]['names']} names."
        parts += [f"{AFTER_STORY} {known}", figures_table(lines, columns)]
    columns = {"seconds": lambda line: float(sum(line["seconds"].values()))}
    return [*parts, "Absorbing and writing:", figures_table(lines, columns), *samples(lines)]


def quarter_of(measure: str, part: int, factor: float) -> Figure:
    """The figure ``measure`` of a quarter, times ``factor``."""
    return lambda line: factor * float(line["quarters"][measure][part])


def figures_table(lines: list[Line], columns: dict[str, Figure]) -> str:
    """A row for each variant."""
    rows = []
    for variant in dict.fromkeys(line["run"]["variant"] for line in lines):
        cells = []
        for figure in columns.values():
            sides = [by_text(lines, side, figure) for side in (variant, BASELINE)]
            cell = with_error(list(sides[0].values()))
            pairs = [value - sides[1][text] for text, value in sides[0].items() if text in sides[1]]
            if variant != BASELINE and pairs:
                cell += f" ({with_error(pairs, signed=True)})"
            cells.append(cell)
        rows.append([variant, *cells])
    return table(["variant", *columns], rows)


def by_text(lines: list[Line], variant: str, figure: Figure) -> dict[tuple[str, int], float]:
    """Prompt and seed -> figure of the run of ``variant``."""
    runs = [line for line in lines if line["run"]["variant"] == variant]
    return {(line["run"]["start"], line["run"]["seed"]): figure(line) for line in runs}


def with_error(values: Sequence[float], *, signed: bool = False) -> str:
    """Mean ± standard error; a single value has no error."""
    text = f"{mean(values):{'+' if signed else ''}.1f}"
    return f"{text} ± {stdev(values) / sqrt(len(values)):.1f}" if len(values) > 1 else text


def samples(lines: list[Line]) -> list[str]:
    """The beginning and the end of the first text of each variant."""
    first = {line["run"]["variant"]: line for line in reversed(lines)}
    parts = ["### Samples"]
    for variant in dict.fromkeys(line["run"]["variant"] for line in lines):
        line = first[variant]
        words = line["text"].split()
        name = f"`{variant}`, {line['run']['start']}, seed {line['run']['seed']}"
        shown = f"{' '.join(words[:SAMPLE])} […] {' '.join(words[-SAMPLE:])}"
        parts += [f"{name}:", f"> {shown}"]
    return parts
