"""`templora report`: a page of a run."""

from pathlib import Path
from typing import Annotated, Final

import typer

from templora_edge.cli.examples import with_examples
from templora_edge.cli.options import Force
from templora_edge.cli.output import write
from templora_edge.cli.prompt import path_of, read_text
from templora_edge.host.files import check_outputs, replacing

EXAMPLES: Final = (
    "templora generate -f novel.txt -n 4000 --report run.json",
    "templora report run.json -o run.html",
    "templora perplexity novel.txt --report run.json && templora report run.json > run.html",
)


@with_examples(*EXAMPLES)
def report(
    file: Annotated[
        str,
        typer.Argument(
            metavar="RUN.json", help="Report of generate or perplexity (--report); - is stdin."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="Write the page here, not to stdout."),
    ] = None,
    force: Force = False,
) -> None:
    """Draw the report of a run as an HTML page: loss, seconds, memory, and the text block by block.

    The page is one file that needs no network.
    """
    from templora_edge.report.page import to_html
    from templora_edge.report.report_file import read_report

    source = "stdin" if file == "-" else file
    check_outputs([("-o", out)], [(source, path_of(file))], force=force)
    page = to_html(read_report(read_text(file, source), source))
    if out is None:
        write(page)
        return
    with replacing(out, "-o") as path:
        path.write_text(page, encoding="utf-8")
