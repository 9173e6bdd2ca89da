"""Flags that commands share, generated from the option dataclasses: see `options.field.option`."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, is_dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from templora_edge.cli.model import FILE, ModelFlags, model_parameters
from templora_edge.options import (
    Options,
    SamplingOptions,
    SelfExtendOptions,
)
from templora_edge.options.field import check, kinds_of, options_in, takes_several

NO_GROUP: Final = 1
"""Value of -gan that turns SelfExtend off."""

AdapterOut = Annotated[
    Path | None,
    typer.Option("--adapter-out", metavar="FILE", help="Save the final adapter as a GGUF."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]


@dataclass(frozen=True)
class SessionFlags:
    """The arguments of a `TempLora` session."""

    chosen: ModelFlags
    options: Options

    @property
    def model(self) -> Path | None:
        """Path of the model, see `ModelFlags.path`; None: the bundled one."""
        return self.chosen.path

    def inputs(self, bundled: Path) -> list[tuple[str, Path | None]]:
        """The files that the session reads, for `check_outputs`."""
        return [*self.chosen.inputs(bundled), *self.options.inputs]


def takes_session_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter ``flags`` of ``command``, `SessionFlags`, with flags at the end."""
    flags = {one.name: _parameter(one) for one in options_in(Options)}

    def collect(given: dict[str, Any]) -> SessionFlags:
        return SessionFlags(ModelFlags.collect(given), _options(given))

    parameters = [*model_parameters(), *flags.values()]
    return _spread(command, "flags", parameters, collect, last=True)


def takes_model_flags(
    file: Any = FILE, flag: str = "-m"
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace the parameter ``model`` of a command, `ModelFlags`, with flags in its place.

    Args:
        file: annotation of the parameter for a path.
        flag: what messages call it.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def collect(given: dict[str, Any]) -> ModelFlags:
            return ModelFlags.collect(given, flag)

        return _spread(command, "model", model_parameters(file), collect, last=False)

    return decorate


def takes_sampling_flags(
    *names: str, defaults: SamplingOptions
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace the parameter ``sampling``, `SamplingOptions`, with flags in its place.

    Args:
        names: options that get a flag; default: all.
        defaults: values for options without a flag, and default values of the flags.
    """
    flags = [
        _parameter(one).replace(default=getattr(defaults, one.name))
        for one in options_in(SamplingOptions)
        if not names or one.name in names
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        return _spread(
            command, "sampling", flags, lambda given: replace(defaults, **given), last=False
        )

    return decorate


def _options(given: dict[str, Any]) -> Options:
    mode, group, window = (given.pop(name) for name in ("self_extend", "group", "window"))
    if mode is not None and group != NO_GROUP:
        raise typer.BadParameter("give --self-extend auto or -gan, not both")
    if mode is None and group != NO_GROUP:
        mode = SelfExtendOptions(group, window)
    given["templora"] = not given["templora"]
    told = {name: value for name, value in given.items() if value is not None}
    return Options().changed(self_extend=mode, **told)


def _spread(
    command: Callable[..., None],
    name: str,
    flags: list[inspect.Parameter],
    collect: Callable[[dict[str, Any]], Any],
    *,
    last: bool,
) -> Callable[..., None]:
    """``command`` with ``flags`` in place of its parameter ``name``, built by ``collect``.

    ``last`` puts the flags after all other parameters.
    """
    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name != name:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        elif not last:
            parameters += flags
    if last:
        parameters += flags

    @wraps(command)
    def spread(**given: Any) -> None:
        collected = collect({flag.name: given.pop(flag.name) for flag in flags})
        command(**{name: collected}, **given)

    spread.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    spread.__annotations__ = {one.name: one.annotation for one in parameters}
    return spread


def _number_or(words: tuple[str, ...], number: type[int] | type[float], text: str) -> float | str:
    """``text`` as it is if it is one of ``words``, as a ``number`` otherwise."""
    if text in words:
        return text
    try:
        return number(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not {', '.join(words)} or a number") from None


def _parameter(one: Field[Any]) -> inspect.Parameter:
    """An option's flag, as a command parameter that typer reads."""
    told = one.metadata
    kind: Any = kinds_of(one)[0]
    if told["also"] and is_dataclass(kind):
        kind = Literal[told["also"]]
    default = NO_GROUP if one.default is MISSING else one.default
    more: dict[str, Any] = {}
    if kind is int or told["max"] is not None:  # other ranges are checked when options are built
        more = {"min": told["min"], "max": told["max"]}
    if kind is bool and default is True:  # the flag is the negation
        default = False
    if takes_several(one):
        more["parser"] = kind.parse
        kind, default = list[kind], None
    if told["also"] and kind in (int, float):
        more = {"parser": partial(_number_or, told["also"], kind)}

    def checked(value: Any) -> Any:
        """``value``, of which the error is to name the source."""
        if value is not None:
            check(one, value)
        return value

    flag = typer.Option(
        *told["flags"], help=told["help"], metavar=told["metavar"], callback=checked, **more
    )
    annotation = kind if default is not None else kind | None
    return inspect.Parameter(
        one.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[annotation, flag],
    )
