"""`templora terms`: list names and recurring terms of a document, as a glossary to approve."""

from pathlib import Path
from typing import Annotated, Final

import typer

from templora_edge.cli.examples import with_examples
from templora_edge.cli.model import ModelFlags
from templora_edge.cli.options import Force, takes_model_flags
from templora_edge.cli.output import write
from templora_edge.cli.screen import SCREEN

EXAMPLES: Final = (
    "templora terms roman.epub -sl fr -tl en > terms.csv",
    "templora terms roman.epub -sl fr -tl de -m model.gguf -n 300 -o terms.csv",
    "templora translate roman.epub -o novel.epub -sl fr -tl en --glossary terms.csv",
)


@with_examples(*EXAMPLES)
@takes_model_flags()
def terms(
    source: Annotated[
        Path, typer.Argument(metavar="DOC", help="Document, in any format that translate reads.")
    ],
    source_language: Annotated[
        str,
        typer.Option(
            "-sl", "--source-language", metavar="CODE", help="Language of DOC, for example fr."
        ),
    ],
    target_language: Annotated[
        str,
        typer.Option(
            "-tl", "--target-language", metavar="CODE", help="Language of the renderings."
        ),
    ],
    model: ModelFlags,
    threads: Annotated[
        int,
        typer.Option(
            "-t",
            "--threads",
            min=0,
            metavar="N",
            help="Threads for llama.cpp; 0: one for each physical core.",
        ),
    ] = 0,
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=1, metavar="N", help="Most terms to list.")
    ] = 100,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="Write the list here, not to stdout."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
    force: Force = False,
) -> None:
    """List names and recurring terms of a document with draft renderings, most telling first.

    The list is CSV. Correct its renderings and delete the lines that are of no use: the rest is a
    glossary for translate.
    """
    from dataclasses import asdict

    from templora_edge.cli.progress import CountProgress
    from templora_edge.host.files import check_outputs, replacing
    from templora_edge.host.json_text import to_json
    from templora_edge.translation.answers import Languages
    from templora_edge.translation.terms.term_list import TermsJob, found_terms, rendered, to_table

    languages = Languages(source_language, target_language)
    job = TermsJob(source, languages, model.path, threads, limit)
    check_outputs([("-o", out)], job.inputs, force=force)
    rows = []
    with CountProgress("terms rendered", "/s") as progress:
        found = found_terms(job)
        if found:
            progress.update(0, len(found))
        for row in rendered(job, found):
            rows.append(row)
            progress.update(len(rows), len(found))
    text = to_json([asdict(row) for row in rows]) if as_json else to_table(rows)
    if out is None:
        write(text)
    else:
        with replacing(out, "-o") as path:
            # with a byte order mark, without which spreadsheets take accents for other characters
            path.write_text(text, encoding="utf-8" if as_json else "utf-8-sig")
    drafts = sum(bool(row.translation) for row in rows)
    SCREEN.say(
        f"terms: {len(rows)}, with a rendering: {drafts}; approve the list, then give it to "
        "translate --glossary"
    )
