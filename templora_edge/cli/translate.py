"""`templora translate` and `templora status`: translate a document, and report how far it is."""

import sys
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
    from templora_edge.translation.job import Translator

EXAMPLES: Final = (
    "templora translate novel.epub -o roman.epub -sl en -tl fr -m model.gguf",
    "templora translate notes.md -o notes.en.md -sl fr -tl en --glossary terms.csv",
    "templora translate subs.srt -o subs.de.srt -sl en -tl de -m model.gguf --test 5",
)


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
        Path,
        typer.Option("-o", "--out", metavar="OUT", help="File to write, in the format of IN."),
    ],
    source_language: Annotated[
        str,
        typer.Option(
            "-sl", "--source-language", metavar="CODE", help="Language of IN, for example fr."
        ),
    ],
    target_language: Annotated[
        str,
        typer.Option(
            "-tl", "--target-language", metavar="CODE", help="Language of OUT, for example pt-BR."
        ),
    ],
    flags: SessionFlags,
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
            help="Open each block in $EDITOR; the edited translations are shown in later prompts, "
            "and learned at --learning-rate.",
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
    from templora_edge.cli.review import edit_block
    from templora_edge.translation.answers import Languages
    from templora_edge.translation.job import Translator, write_partial
    from templora_edge.translation.translate_job import TranslateJob

    job = TranslateJob(
        source,
        out,
        Languages(source_language, target_language),
        flags.model,
        flags.options.changed(seed=seed, measure_after=False),
        sampling=sampling.changed(seed=seed),
        prompt_template=prompt_template,
        references=references,
        glossary=glossary,
        memory=memory,
        edited=edited,
        bilingual=bilingual,
        adapter_out=adapter_out,
        report=report,
        review=edit_block if review else None,
        limit=test,
        restart=restart,
        retry_flagged=retry_flagged,
        force=force or dry_run,  # a dry run writes nothing
    )
    if partial:
        _summarise(write_partial(job), partial=out)
        return
    with Translator(job) as translator:
        if dry_run:
            _print_plan(translator, as_json=as_json)
        else:
            _work(translator, test=test is not None)


@with_examples("templora status roman.epub")
def status(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output file of the translation.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Report the progress of a translation, even while it runs."""
    from templora_edge.translation.job import status as status_of

    found = status_of(out)
    if as_json:
        write(to_json(found))
        return
    flags = "".join(f", {count} {flag}" for flag, count in found["flags"].items())
    state = "finished" if found["finished"] else "not finished"
    write(
        f"{found['done']} of {found['segments']} segments, {found['tokens']} tokens, "
        f"{found['learned_blocks']} blocks learned, {found['seconds']:.0f} s, {state}\n"
        f"{found['flagged']} flagged{flags}\n"
    )


def _work(translator: "Translator", *, test: bool) -> None:
    from templora_edge.cli.progress import CountProgress

    units = {
        "references": "pairs learned",
        "edits": "edited segments learned",
        "flagged segments": "flagged segments done",
    }
    progress: dict[str, CountProgress] = {}
    try:
        for step in translator:
            phase = "segments" if step.phase == "training" else step.phase
            if phase not in progress:
                for earlier in progress.values():
                    earlier.close()
                progress[phase] = CountProgress(units.get(phase, "source tokens translated"), "/s")
            progress[phase].update(step.done, step.total)
            if test and step.row is not None:
                write(f"{step.row.source}\n{step.row.translation}\n\n")
    finally:
        for one in progress.values():
            one.close()
    _summarise(translator.report, partial=translator.job.out if test else None)


def _summarise(report: dict[str, Any], *, partial: Path | None) -> None:
    left = report["segments"] - report["done"]
    lines = [f"{report['done']} of {report['segments']} segments in {report['seconds']:.0f} s"]
    if edits := report.get("edits"):
        lines.append(
            f"--edited: {edits['changed']} segments changed, {edits['unchanged']} unchanged, "
            f"{edits['unknown']} of the file not in the job"
        )
    if partial is not None and left:
        lines.append(f"{partial}: a partial translation; {left} segments are as in the source")
    if report["skipped"]:
        skipped = (f"{name} ({count:,})" for name, count in report["skipped"].items())
        lines.append(f"left as in the source: {', '.join(skipped)}")
    for row in report["flagged_segments"]:
        lines.append(f"segment {row['id']}: {', '.join(row['flags'])}: {row['source'][:60]}")
    for term, count in report["glossary_violations"].items():
        lines.append(f"term not used: {term} ({count} times)")
    SCREEN.say("\n".join(lines))


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
