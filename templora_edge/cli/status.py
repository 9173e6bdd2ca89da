"""`templora status`: report how far a translation is."""

from pathlib import Path
from typing import Annotated

import typer

from templora_edge.cli.examples import with_examples
from templora_edge.cli.output import write
from templora_edge.host.json_text import to_json


@with_examples("templora status roman.epub")
def status(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output file of the translation.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Report the progress of a translation, even while it runs."""
    from templora_edge.translation.job.job import status as status_of

    found = status_of(out)
    if as_json:
        write(to_json(found))
        return
    from templora_edge.cli.summary import status_summary

    write(f"{status_summary(found, out)}\n")
