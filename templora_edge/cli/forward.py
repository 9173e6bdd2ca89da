"""Flags of one command as arguments of another."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import typer

from templora_edge.cli.configured import ConfiguredOption, configured
from templora_edge.options import FixedAdapter
from templora_edge.shelf.book import Argument, Input


def forwarded(
    ctx: typer.Context, command: Callable[..., None], *, own: Collection[str], flag: str
) -> tuple[Argument, ...]:
    """The flags that the command of ``ctx`` was given, by whatever source, for ``command``.

    Args:
        ctx: context of the command that was called.
        command: the other one.
        own: parameters that are not handed on.
        flag: what chose ``command``, for messages.

    Raises:
        typer.BadParameter: ``command`` has no such flag.
    """
    app = typer.Typer(add_completion=False)
    app.command()(command)
    known = {name for one in typer.main.get_command(app).params for name in one.opts}
    found: list[Argument] = []
    for option in configured(ctx.command):
        value = ctx.params.get(option.name)
        source = ctx.get_parameter_source(option.name)
        is_given = source is not None and source.name != "DEFAULT" and value not in (None, False)
        if option.name in own or not is_given:
            continue
        name = f"--{option.key}"
        if name not in known:
            raise typer.BadParameter(f"{name}: does not go with {flag}")
        found += _arguments(option, name, value)
    return tuple(found)


def _arguments(option: ConfiguredOption, name: str, value: Any) -> Iterator[Argument]:
    if option.is_flag:
        yield name
        return
    for one in value if option.multiple else [value]:
        yield name
        match one:
            case FixedAdapter():
                yield Input(one.path, f":{one.scale:g}")
            case Path():
                yield Input(one)
            case _:
                yield str(one)
