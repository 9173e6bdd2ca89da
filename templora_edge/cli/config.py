"""`templora config`: show which values are in force, and where they come from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from templora_edge.cli.config_file import ConfigFile, Entry
from templora_edge.cli.configured import FileDefaults, commands_of, configured, overrule_rivals
from templora_edge.cli.examples import with_examples
from templora_edge.cli.output import write
from templora_edge.host.json_text import to_json

EXAMPLES: Final = (
    "templora config",
    "templora config generate",
    "templora config translate --config book.toml --json",
)


@dataclass(frozen=True)
class InForce:
    """The value that a flag has unless it is given."""

    key: str
    value: Any
    source: Entry | str | None
    """An entry of the file, or the name of a variable; None: the flag's own default."""

    def as_json(self) -> dict[str, Any]:
        """The value, and the kind and, unless it is the default, the name of its source."""
        match self.source:
            case Entry() as entry:
                source = {"source": "file", "name": ".".join((*entry.section, entry.key))}
            case str() as variable:
                source = {"source": "environment", "name": variable}
            case None:
                source = {"source": "default"}
        return {"value": self.value, **source}

    def as_row(self) -> tuple[str, str, str]:
        """Flag, value and source, as text."""
        match self.value:
            case None:
                value = "-"
            case bool():
                value = "on" if self.value else "off"
            case list():
                value = ", ".join(map(str, self.value))
            case _:
                value = str(self.value)
        match self.source:
            case Entry() as entry:
                source = f"file, {entry.heading}" if entry.section else "file"
            case str() as variable:
                source = variable
            case None:
                source = "default"
        return f"--{self.key}", value, source


@with_examples(*EXAMPLES)
def config(
    ctx: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND",
            help="Command to show; default: for all of them, what differs from the defaults.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Show the value of each flag where the command line gives none, and where it comes from.

    A value comes from the first of these that has one: the command line; the variable
    TEMPLORA_<FLAG>, for example TEMPLORA_CTX_SIZE for --ctx-size; llama.cpp's LLAMA_ARG_<FLAG>; the
    section of the command in the configuration file; the beginning of that file, which is for all
    commands; the flag's default. A dash stands for what model, preset or text decide.
    """
    app, known = ctx.find_root(), ctx.default_map
    file = known.file if isinstance(known, FileDefaults) else ConfigFile.find(None)
    commands = commands_of(app.command)
    words = tuple(command or ())
    if words and words not in commands:
        names = ", ".join(" ".join(one) for one in commands)
        raise typer.BadParameter(f"no command {' '.join(words)!r}; expected one of {names}")
    chosen = [words] if words else list(commands)
    found = {one: list(_in_force(app, one, file)) for one in chosen}
    if as_json:
        listed = {
            " ".join(one): {value.key: value.as_json() for value in values}
            for one, values in found.items()
        }
        write(to_json({"file": str(file.path) if file.exists else None, "commands": listed}))
    else:
        write(f"file  {file.path}{'' if file.exists else ' (does not exist)'}\n")
        _print(found, all_values=bool(words))


def _in_force(app: Any, words: tuple[str, ...], file: ConfigFile) -> Iterator[InForce]:
    """The values of all flags of a command that is called without any."""
    ctx = app
    for word in words:
        ctx = typer.Context(ctx.command.commands[word], parent=ctx, info_name=word)
    ctx.default_map = FileDefaults(file, ctx)
    options = configured(ctx.command)
    for option in options:
        value, _ = option.consume_value(ctx, {})
        if value is not None:  # a flag that is required may be missing
            option.handle_parse_result(ctx, {}, [])
    overrule_rivals(ctx)
    for option in options:
        yield InForce(option.key, _plain(ctx.params.get(option.name)), option.source(ctx))


def _plain(value: Any) -> Any:
    """``value`` as JSON has it."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value] or None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _print(found: Mapping[tuple[str, ...], list[InForce]], *, all_values: bool) -> None:
    """Print a line for each flag, with its command unless ``all_values`` of one are printed."""
    rows = [
        (*(() if all_values else (" ".join(words),)), *value.as_row())
        for words, values in found.items()
        for value in values
        if all_values or value.source is not None
    ]
    if not rows:
        write("all flags have their defaults\n")
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        write("  ".join(cells).rstrip() + "\n")
