"""Examples at the end of a command's --help."""

from collections.abc import Callable
from inspect import getdoc
from typing import TypeVar

Command = TypeVar("Command", bound=Callable[..., None])


def with_examples(*examples: str) -> Callable[[Command], Command]:
    """Append ``examples``, one per line, to the docstring of a command."""

    def decorate(command: Command) -> Command:
        lines = "\n".join(f"    {example}" for example in examples)  # code, in docs/cli.md
        command.__doc__ = f"{getdoc(command)}\n\nExamples:\n\n\b\n{lines}"  # \b: do not wrap
        return command

    return decorate
