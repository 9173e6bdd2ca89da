"""`templora export`: a translation as XLIFF or TMX."""

from pathlib import Path
from typing import Annotated, Final

import typer

from templora_edge.cli.examples import with_examples
from templora_edge.cli.options import Force
from templora_edge.cli.screen import SCREEN

EXAMPLES: Final = (
    "templora export roman.epub roman.xlf",
    "templora export roman.epub roman.tmx --force",
)


@with_examples(*EXAMPLES)
def export(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output file of the translation.")],
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="File to write: XLIFF (.xlf, .xliff) or TMX (.tmx)."),
    ],
    force: Force = False,
) -> None:
    """Write the segments of a translation for other tools, even while it runs.

    `templora translate --edited FILE` takes them back.
    """
    from templora_edge.translation.exchange.export import export as write_file

    done, total = write_file(out, file, force=force)
    SCREEN.say(f"{file}: {done} of {total} segments translated")
