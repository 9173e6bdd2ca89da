"""`templora translate`: translate a document."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from templora_edge.cli.examples import with_examples
from templora_edge.cli.options import (
    AdapterOut,
    Force,
    SessionFlags,
    takes_sampling_flags,
    takes_session_flags,
)
from templora_edge.cli.output import write
from templora_edge.cli.screen import SCREEN
from templora_edge.errors import OptionError, listed
from templora_edge.host.json_text import to_json
from templora_edge.options import GREEDY, MAX_SEED, SamplingOptions

if TYPE_CHECKING:
    from templora_edge.cli.progress import CountProgress
    from templora_edge.translation.job.job import Translator
    from templora_edge.translation.job.translate_job import TranslateJob

EXAMPLES: Final = (
    "templora translate novel.epub -o roman.epub -sl en -tl fr -m model.gguf",
    "templora translate notes.md -o notes.en.md -sl fr -tl en --glossary terms.csv",
    "templora translate tome2.epub --series series.toml",
    "templora translate subs.srt -o subs.de.srt -sl en -tl de -m model.gguf --test 5",
)
UNITS: Final = {
    "references": ("pairs learned", "pairs/s"),
    "edits": ("edited segments learned", "segments/s"),
    "segments": ("source tokens translated", "tok/s"),
    "flagged segments": ("flagged segments done", "segments/s"),
}
"""Phase of a run -> what is counted, and the unit of its rate."""


@with_examples(*EXAMPLES)
@takes_session_flags
@takes_sampling_flags("temperature", "repeat_penalty", defaults=GREEDY)
def translate(
    *,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN", help="Document: text, Markdown, HTML, EPUB, Word or subtitles."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="OUT", help="File to write, in the format of IN."),
    ] = None,
    source_language: Annotated[
        str | None,
        typer.Option(
            "-sl", "--source-language", metavar="CODE", help="Language of IN, for example fr."
        ),
    ] = None,
    target_language: Annotated[
        str | None,
        typer.Option(
            "-tl", "--target-language", metavar="CODE", help="Language of OUT, for example pt-BR."
        ),
    ] = None,
    flags: SessionFlags,
    series: Annotated[
        Path | None,
        typer.Option(
            "--series",
            metavar="FILE",
            help="TOML file of a series, of which IN is a volume: OUT, languages, model, glossary "
            "and names come from it, and what the volumes before left; see docs/usage.md.",
        ),
    ] = None,
    prompt_template: Annotated[
        Path | None,
        typer.Option(
            "--prompt-template",
            metavar="FILE",
            help="Jinja template of the prompt, with source, pairs, terms, source_language and "
            "target_language; default: the model's own, or examples if it has none.",
        ),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(
            "--references",
            metavar="FILE",
            help="Translated pairs to show first, and to learn at --learning-rate: .tmx, .xlf, "
            ".jsonl or .tsv.",
        ),
    ] = None,
    memory: Annotated[
        Path | None,
        typer.Option(
            "--memory",
            metavar="FILE",
            help="Earlier translations: exact matches are taken over, matches of 75 % or more are "
            "shown to the model; .tmx, .xlf, .jsonl or .tsv.",
        ),
    ] = None,
    edited: Annotated[
        Path | None,
        typer.Option(
            "--edited",
            metavar="FILE",
            help="Take over what a person changed in FILE, which is an .xlf or .tmx of "
            "`templora export`, or OUT itself; learned at --learning-rate.",
        ),
    ] = None,
    glossary: Annotated[
        Path | None,
        typer.Option("--glossary", metavar="FILE", help="Terms to use: .csv or .tbx."),
    ] = None,
    bilingual: Annotated[
        Path | None,
        typer.Option(
            "--bilingual", metavar="FILE", help="Write source and translation together here, too."
        ),
    ] = None,
    adapter_out: AdapterOut = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="Write a JSON report of flagged segments and glossary violations.",
        ),
    ] = None,
    review: Annotated[
        bool,
        typer.Option(
            "--review",
            help="Open each block in $VISUAL or $EDITOR; what you leave there is shown in later "
            "prompts, and learned at --learning-rate.",
        ),
    ] = False,
    test: Annotated[
        int | None,
        typer.Option(
            "--test",
            min=1,
            metavar="N",
            help="Translate and show only the first N segments; OUT has the rest as in IN.",
        ),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial",
            help="Write OUT with what is translated so far, and the rest as in IN, at once, even "
            "while another process translates.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Count segments and tokens and estimate the time; translate nothing."
        ),
    ] = False,
    retry_flagged: Annotated[
        bool, typer.Option("--retry-flagged", help="Translate the flagged segments of OUT again.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Discard the work of earlier runs.")
    ] = False,
    sampling: SamplingOptions,
    seed: Annotated[
        int,
        typer.Option(
            "-s",
            "--seed",
            min=0,
            max=MAX_SEED,
            metavar="N",
            help="Random seed of adapter and sampling.",
        ),
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the plan of --dry-run as JSON.")
    ] = False,
    force: Force = False,
) -> None:
    """Translate a document, training a temporary LoRA on it block by block.

    Every finished segment is saved; run the same command again to continue where it stopped.
    """
    if review and not sys.stdin.isatty():
        raise OptionError("--review: expected a terminal; leave it out in scripts")
    others = {
        "--test": test,
        "--dry-run": dry_run,
        "--retry-flagged": retry_flagged,
        "--restart": restart,
    }
    if partial and (given := [flag for flag, value in others.items() if value]):
        raise OptionError(f"--partial only writes what is translated; leave out {listed(given)}")
    from templora_edge.cli.progress import CountProgress

    progress = CountProgress(*UNITS["segments"])
    from templora_edge.cli.review import Editor
    from templora_edge.job_store.folder import folder_of
    from templora_edge.translation.job.job import Translator, write_partial
    from templora_edge.translation.job.series import Series, Start

    options = flags.options.changed(seed=seed, measure_after=False)
    start = Start(
        out, source_language, target_language, flags.model, options, glossary, adapter_out
    )
    if series is not None:
        start = Series.read(series).start(source, start)
    try:
        begun = start.job(source)
    except OptionError as error:
        raise typer.BadParameter(str(error)) from None
    job = replace(
        begun,
        sampling=sampling.changed(seed=seed),
        prompt_template=prompt_template,
        references=references,
        memory=memory,
        edited=edited,
        bilingual=bilingual,
        report=report,
        review=Editor(folder_of(begun.out), progress.away) if review else None,
        limit=test,
        restart=restart,
        retry_flagged=retry_flagged,
        force=force or dry_run,  # a dry run writes nothing
    )
    if partial:
        _say_summary(job, write_partial(job))
        return
    with Translator(job) as translator:
        if dry_run:
            _print_plan(translator, as_json=as_json)
        else:
            _work(translator, progress)


def _work(translator: "Translator", progress: "CountProgress") -> None:
    job = translator.job
    phase = "segments"
    try:
        with progress:
            for step in translator:
                if step.phase not in (phase, "training"):
                    phase = step.phase
                    progress.begin(*UNITS[phase])
                if step.phase != "training":
                    progress.update(step.done, step.total)
                if job.limit is not None and step.row is not None:
                    write(f"{step.row.source}\n{step.row.translation}\n\n")
    except KeyboardInterrupt:
        SCREEN.say(
            "interrupted; finished segments are kept, and the same command goes on with them"
        )
        raise
    nothing_done = translator.was_finished and not (job.retry_flagged or job.edited)
    _say_summary(job, translator.report, was_finished=nothing_done)


def _say_summary(
    job: "TranslateJob", report: Mapping[str, Any], *, was_finished: bool = False
) -> None:
    from templora_edge.cli.summary import run_summary

    whole = report["finished"]
    files = [path for flag, path in job.outputs if path and (whole or flag != "--adapter-out")]
    summary = run_summary(
        report, job.out, files=files, report=job.report, was_finished=was_finished
    )
    SCREEN.say(summary)


def _print_plan(translator: "Translator", *, as_json: bool) -> None:
    from dataclasses import asdict

    from templora_edge.cli.progress import duration

    plan = translator.plan()
    if as_json:
        write(to_json(asdict(plan)))
    else:
        write(
            f"{plan.segments:,} segments, {plan.tokens:,} tokens, {plan.updates} updates, about "
            f"{duration(plan.seconds)}\n"
        )
