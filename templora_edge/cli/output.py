"""Output of results: to stdout, which carries nothing else, and to plots."""

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from templora_edge.cli.screen import SCREEN, drop
from templora_edge.errors import OptionError, OutputError
from templora_edge.extras import needs_extra
from templora_edge.host.files import Files, check_outputs

if TYPE_CHECKING:
    from rich.console import RenderableType

PLOT_SUFFIXES: Final = (".png", ".svg")


def write(text: str) -> None:
    """Write ``text`` to stdout, unbuffered, in UTF-8 whatever the locale.

    Raises:
        OutputError: the reader has closed the pipe, or the disk is full.
    """
    SCREEN.make_way(text)
    try:
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        drop(sys.stdout)
        raise OutputError("stdout: its reader is gone; stopped") from None
    except OSError as error:
        drop(sys.stdout)
        raise OutputError(f"stdout: cannot be written ({error.strerror}); stopped") from error


def write_table(table: "RenderableType", *, soft_wrap: bool = False) -> None:
    """Write a rich table, in colour if stdout is a terminal.

    Raises:
        OutputError: as `write`.
    """
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=soft_wrap)
    with console.capture() as drawn:
        console.print(table)
    write(drawn.get())


def write_facts(rows: Mapping[str, str]) -> None:
    """Write names and values in two columns, a line each.

    Raises:
        OutputError: as `write`.
    """
    width = max(map(len, rows))
    write("".join(f"{name:<{width}}  {value}\n" for name, value in rows.items()))


def size(n_bytes: float) -> str:
    """``n_bytes`` in the largest unit up to GiB that leaves at least 1."""
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"


def check_plot(path: Path | None, inputs: Files, *, force: bool) -> None:
    """Reject a --plot file that could not be drawn, before any work is done.

    Raises:
        OptionError: ``path`` has an unknown suffix, or is one of the ``inputs``.
        MissingExtraError: matplotlib is not installed.
        OutputError: ``path`` cannot be written, or exists and ``force`` is false.
    """
    if path is None:
        return
    if path.suffix not in PLOT_SUFFIXES:
        raise OptionError(f"--plot {path}: expected a name that ends in .png or .svg")
    with needs_extra("plot", f"--plot {path}"):
        import_module("matplotlib")
    check_outputs([("--plot", path)], inputs, force=force)
