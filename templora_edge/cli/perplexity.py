"""`templora perplexity`: score texts."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.cli import EXIT_INTERRUPTED
from templora_edge.cli.examples import with_examples
from templora_edge.cli.options import Force, SessionFlags, takes_session_flags
from templora_edge.cli.output import check_plot, write
from templora_edge.cli.prompt import path_of, read_text
from templora_edge.host.files import check_outputs, replacing
from templora_edge.host.json_text import to_json
from templora_edge.options import MAX_SEED, ScoringProtocol

EXAMPLES: Final = (
    "templora perplexity novel.txt",
    "templora perplexity -m model.gguf --max-tokens 30000 --plot curve.png a.txt b.txt",
    "templora perplexity --json - < novel.txt > result.json",
)


@with_examples(*EXAMPLES)
@takes_session_flags
def perplexity(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Text files; - is stdin.")],
    flags: SessionFlags,
    seed: Annotated[
        int,
        typer.Option(
            "-s", "--seed", min=0, max=MAX_SEED, metavar="N", help="Random seed of the adapter."
        ),
    ] = 0,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens",
            min=1,
            metavar="N",
            help="Score the first N tokens of each text; default: all.",
        ),
    ] = None,
    buckets: Annotated[
        int,
        typer.Option("--buckets", min=1, metavar="N", help="Ranges of positions in the table."),
    ] = 4,
    protocol: Annotated[
        ScoringProtocol,
        typer.Option(
            "--protocol",
            help="Which tokens to score; llama-perplexity: windows as in llama.cpp's own tool.",
        ),
    ] = ScoringProtocol.STREAM,
    base_scores: Annotated[
        Path | None,
        typer.Option(
            "--base-scores",
            metavar="FILE",
            help="Keep the base's scores in FILE, and read them from it where text, model and "
            "context are the same, so that other rules take half the time.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Plot both curves to a .png or .svg file."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write a JSON report of all blocks."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    force: Force = False,
) -> None:
    """Score texts with the base alone and with Temp-LoRA.

    Each block is scored before the adapter is trained on it.
    """
    inputs = [*flags.inputs(BUNDLED_MODEL), *(("FILE", path_of(name)) for name in files)]
    kept = [("--base-scores", base_scores)]
    check_outputs(kept, inputs, force=True)  # what it holds stays
    check_outputs([("--report", report)], [*inputs, *kept], force=force)
    check_plot(plot, [*inputs, *kept, ("--report", report)], force=force)
    texts = [(name, read_text(name, "stdin" if name == "-" else name)) for name in files]

    from templora_edge.cli.progress import CountProgress

    progress = CountProgress("tokens scored", "tok/s")
    from templora_edge.evaluation.perplexity import NamedText, PerplexityJob, PerplexityRun

    job = PerplexityJob(
        tuple(NamedText(name, text) for name, text in texts),
        flags.model,
        flags.options.changed(seed=seed),
        max_tokens=max_tokens,
        n_buckets=buckets,
        protocol=protocol,
        base_scores=base_scores,
    )
    run = PerplexityRun(job)
    interrupted = False
    try:
        with progress:
            for step in run:
                progress.update(step.done, step.total)
    except KeyboardInterrupt:
        interrupted = True
    result = run.result()
    if result["files"]:
        if report is not None:
            with replacing(report, "--report") as temporary:
                temporary.write_text(to_json(run.report()), encoding="utf-8")
        write(to_json(result) if as_json else _table(result))
        if plot is not None:
            from templora_edge.cli.plot import plot_perplexity

            plot_perplexity(run.curve(), plot)
    if interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def _table(result: dict[str, Any]) -> str:
    """The total by position, as text, and each file's total if there are several."""
    from io import StringIO

    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("position")
    for name in ("tokens", "base PPL", "Temp-LoRA PPL", "change", "±", "base¹", "Temp-LoRA¹"):
        table.add_column(name, justify="right")
    for bucket in result["total"]["buckets"]:
        table.add_row(f"{bucket['begin']:,} to {bucket['end']:,}", *_cells(bucket))
    if len(result["files"]) > 1:
        for file in result["files"]:
            table.add_row(file["file"], *_cells(file))
    table.add_row("total", *_cells(result["total"]))
    out = StringIO()
    Console(file=out, width=120, no_color=True).print(table)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    note = "¹ ppl_block_mean: token-weighted mean of the blocks' perplexities"
    return "\n".join([*lines, "", note, ""])


def _cells(figures: dict[str, Any]) -> list[str]:
    base, templora = figures["base"], figures["templora"] or {}
    return [
        f"{figures['tokens']:,}",
        _number(base["ppl"]),
        _number(templora.get("ppl")),
        _number(figures["change_percent"], "+.1f", " %"),
        _number(figures["change_percent_se"], ".1f", " %"),
        _number(base["ppl_block_mean"]),
        _number(templora.get("ppl_block_mean")),
    ]


def _number(value: float | None, form: str = ".2f", unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"
