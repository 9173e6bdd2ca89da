"""`templora status`: report how far a job is."""

from pathlib import Path
from typing import Annotated

import typer

from templora_edge.cli.examples import with_examples
from templora_edge.cli.output import write
from templora_edge.host.json_text import to_json


@with_examples("templora status roman.epub", "templora status more.txt --json")
def status(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output file of the job.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Report the progress of a translation or of `generate -o`, even while it runs."""
    from templora_edge.job_store.folder import begun_folder
    from templora_edge.job_store.store import JobStore

    folder = begun_folder(out)
    with JobStore(folder, read_only=True) as store:
        is_text = store.kind == "generation"
    if is_text:
        from templora_edge.cli.summary import text_summary as summary_of
        from templora_edge.generation.text_store import status as status_of
    else:
        from templora_edge.cli.summary import status_summary as summary_of
        from templora_edge.translation.store.store import status as status_of
    found = status_of(folder)
    write(to_json(found) if as_json else f"{summary_of(found, out)}\n")
