"""`templora evaluate`: compare translations with references."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from templora_edge.cli.examples import with_examples
from templora_edge.cli.output import write
from templora_edge.host.json_text import to_json

EXAMPLES: Final = (
    "templora evaluate ours.txt reference.txt",
    "templora evaluate ours.jsonl test.jsonl -tl en --against base.jsonl --json",
)
COLUMNS: Final = {
    "d_bleu": "d-BLEU",
    "bleu": "BLEU",
    "chrf": "chrF",
    "names": "names",
    "terms": "terms",
    "coverage": "coverage",
    "repetition": "repetition",
    "comet": "COMET",
}
SHARES: Final = frozenset(["names", "terms", "coverage", "repetition"])


@with_examples(*EXAMPLES)
def evaluate(
    hypothesis: Annotated[
        Path,
        typer.Argument(
            metavar="HYP",
            help="Translations: .jsonl, GuoFeng's .json, or plain text with a segment per line.",
        ),
    ],
    reference: Annotated[
        Path, typer.Argument(metavar="REF", help="Reference translations, in the same formats.")
    ],
    source: Annotated[
        Path | None,
        typer.Option(
            "--source", metavar="SRC", help="Source texts, in the same formats; for COMET."
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="HYP",
            help="Other translations of the same texts; test whether the first ones are better.",
        ),
    ] = None,
    target_language: Annotated[
        str | None,
        typer.Option(
            "-tl", "--target-language", metavar="CODE", help="Language of the translations."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compare translations with references.

    Scores are BLEU, d-BLEU, chrF, consistency of names and terms, coverage and repetition; COMET
    too, if unbabel-comet is installed and sources are given.
    """
    from templora_edge.evaluation.translations import EvaluateJob
    from templora_edge.evaluation.translations import evaluate as evaluate_task

    found = evaluate_task(EvaluateJob(hypothesis, reference, source, against, target_language))
    write(to_json(found) if as_json else _table(found))


def _table(found: dict[str, Any]) -> str:
    width = max(len(name) for name in found["systems"])
    columns = {
        key: title
        for key, title in COLUMNS.items()
        if any(scores.get(key) is not None for scores in found["systems"].values())
    }
    lines = [" ".join([" " * width, *(f"{title:>10}" for title in columns.values())])]
    for name, scores in found["systems"].items():
        cells = [_cell(key, scores.get(key)) for key in columns]
        lines.append(" ".join([f"{name:<{width}}", *(f"{cell:>10}" for cell in cells)]))
    lines.append(f"{found['segments']} segments, {found['documents']} documents")
    for metric, systems in found.get("bootstrap", {}).items():
        (_, first), (name, second) = systems.items()
        lines.append(
            f"{metric} of {name}: {second['score'] - first['score']:+.2f}, p = {second['p']:.3f} "
            "(paired bootstrap)"
        )
    signatures = dict.fromkeys(next(iter(found["systems"].values()))["signatures"].values())
    return "\n".join([*lines, *signatures]) + "\n"


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if key in SHARES else f"{value:.2f}"
