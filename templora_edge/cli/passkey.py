"""`templora passkey`: the passkey test."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.cli import EXIT_INTERRUPTED
from templora_edge.cli.examples import with_examples
from templora_edge.cli.options import Force, SessionFlags, takes_session_flags
from templora_edge.cli.output import check_plot, write, write_table
from templora_edge.host.json_text import to_json
from templora_edge.options import MAX_SEED, PasskeyMode

if TYPE_CHECKING:
    from templora_edge.evaluation.passkey import PasskeyRun

EXAMPLES: Final = (
    "templora passkey",
    "templora passkey -m model.gguf --length 4096 --length 16384 --mode base --mode self-extend",
    "templora passkey --json --plot grid.png > grid.json",
)


@with_examples(*EXAMPLES)
@takes_session_flags
def passkey(
    flags: SessionFlags,
    length: Annotated[
        list[int] | None,
        typer.Option(
            "--length",
            min=1,
            metavar="N",
            help="Tokens of a text; may be repeated; default: 1/2, 1, 2 and 4 trained contexts.",
        ),
    ] = None,
    depths: Annotated[
        int,
        typer.Option(
            "--depths", min=1, metavar="N", help="Number of depths at which to hide the key."
        ),
    ] = 5,
    mode: Annotated[
        list[PasskeyMode] | None,
        typer.Option("--mode", help="How to read the text; may be repeated; default: all."),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "-s",
            "--seed",
            min=0,
            max=MAX_SEED,
            metavar="N",
            help="Random seed of keys and adapters.",
        ),
    ] = 0,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Plot the grids to a .png or .svg file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    force: Force = False,
) -> None:
    """Test whether the model finds five digits hidden in a long text.

    Tests vary the length of the text, the depth of the digits and the method of reading.
    """
    check_plot(plot, flags.inputs(BUNDLED_MODEL), force=force)
    from templora_edge.cli.progress import CountProgress

    progress = CountProgress("tests done", "tests/s")
    from templora_edge.evaluation.passkey import PasskeyJob, PasskeyRun

    modes = tuple(mode or PasskeyMode)
    options = flags.options.changed(seed=seed)
    if not flags.options.templora:
        modes = tuple(one for one in modes if not one.learns)
    job = PasskeyJob(flags.model, tuple(length or ()), depths, modes, options)
    run = PasskeyRun(job)
    interrupted = False
    try:
        with progress:
            progress.update(0, run.n_cells)
            for _ in run:
                progress.update(len(run.cells), run.n_cells)
    except KeyboardInterrupt:
        interrupted = True
    if run.cells:
        if as_json:
            write(to_json(run.result()))
        else:
            _print(run)
        if plot is not None:
            from templora_edge.cli.plot import plot_passkey

            plot_passkey(run.result(), plot)
    if interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def _print(run: "PasskeyRun") -> None:
    """Print one grid per mode: depths as rows, lengths as columns."""
    from rich.table import Table
    from rich.text import Text

    cells = {(cell.mode, cell.length, cell.depth): cell for cell in run.cells}
    for mode in run.job.modes:
        table = Table(title=mode.value, title_justify="left", box=None)
        table.add_column("depth", justify="right")
        for length in run.lengths:
            table.add_column(f"{length:,}", justify="right")
        for depth in run.depths:
            row = [Text(f"{100 * depth:.0f} %")]
            for length in run.lengths:
                cell = cells.get((mode, length, depth))
                if cell is None:
                    row.append(Text("-"))
                else:
                    row.append(Text("found", "green") if cell.found else Text("lost", "red"))
            table.add_row(*row)
        write_table(table)
