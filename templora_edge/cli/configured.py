"""Flags whose defaults come from the environment and from the configuration file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

import typer
from typer.core import TyperOption

from templora_edge.cli.config_file import ConfigFile, Entry
from templora_edge.cli.environment import is_set, read_list, read_switch, variables_of
from templora_edge.errors import OptionError

_LEVELS: Final = {"DEFAULT": 0, "DEFAULT_MAP": 1, "ENVIRONMENT": 2, "COMMANDLINE": 3}
"""Sources of values, by the names of click's `ParameterSource`; the higher one is in force."""

_RIVALS: Final = (
    ("self_extend", "group"),
    ("prompt", "file"),
    ("model", "hf_repo"),
    ("model", "hf_file"),
    ("templora", "adapter"),
    ("templora", "adapter_out"),
    ("partial", "test"),
    ("partial", "retry_flagged"),
    ("partial", "restart"),
    ("absorb", "perplexity"),
)
"""Parameters that exclude one another; of ``templora``, what its flag --no-templora says."""

_PATHS: Final = ("file", "lora", "notes")
"""Flags whose text begins with a path although their type is another."""


class ConfiguredOption(TyperOption):
    """A flag of a command, for which a variable and an entry of the file may stand."""

    def __init__(self, flag: TyperOption) -> None:
        vars(self).update(vars(flag))  # typer builds its options itself
        self.key = next(name[2:] for name in self.opts if name.startswith("--"))
        """The flag's long name, without dashes."""
        self.envvar = variables_of(self.key)
        self.show_envvar = False  # one rule names them all

    @property
    def opposite(self) -> str:
        """The flag that turns a switch off again which only the environment or file turned on."""
        return f"--{self.key[3:]}" if self.key.startswith("no-") else f"--no-{self.key}"

    @property
    def variable(self) -> str | None:
        """The environment variable that is set."""
        return next(filter(is_set, variables_of(self.key)), None)

    def entry(self, ctx: typer.Context) -> Entry | None:
        """The entry of the configuration file."""
        known = ctx.default_map
        return known.entries.get(self.name) if isinstance(known, FileDefaults) else None

    def source(self, ctx: typer.Context) -> Entry | str | None:
        """Where the value comes from: an entry of the file, a variable, or None: elsewhere."""
        match _level(self, ctx):
            case 1:
                return self.entry(ctx)
            case 2:
                return self.variable
            case _:
                return None

    def texts(self, entry: Entry) -> bool | str | list[str]:
        """The value of ``entry`` as a command line would give it."""
        kind = self.type_descriptor.annotation
        is_path = Path in (kind, *get_args(kind)) or self.key in _PATHS
        return entry.texts(switch=self.is_flag, several=self.multiple, is_path=is_path)

    def value_from_envvar(self, ctx: Any) -> Any:  # noqa: ARG002 # as in click
        """The value of the environment variable, as text; for a switch, what it says."""
        variable = self.variable
        if variable is None:
            return None
        if self.is_flag:
            return read_switch(variable)
        return read_list(variable) if self.multiple else os.environ[variable]

    def handle_parse_result(self, ctx: Any, opts: Mapping[str, Any], args: list[str]) -> Any:
        """Parse the value; an error names the variable or the entry that it comes from.

        Raises:
            ConfigError: the entry of the file cannot be used.
            typer.BadParameter: the flag or the variable cannot be used.
        """
        try:
            parsed = super().handle_parse_result(ctx, opts, args)
        except (typer.BadParameter, OptionError) as error:
            reason = error.message if isinstance(error, typer.BadParameter) else str(error)
            match self.source(ctx):
                case Entry() as entry:
                    raise entry.error(reason) from error
                case str() as variable:
                    hint = f"{variable}={os.environ[variable]}"
                    raise typer.BadParameter(reason, ctx, param_hint=hint) from error
            raise
        source = self.source(ctx)
        if isinstance(source, Entry) and not self.is_flag:
            source.check(parsed[0])
        return parsed


class FileDefaults(dict[str, Any]):
    """The values of a configuration file for a command: click's ``default_map``."""

    def __init__(self, file: ConfigFile, ctx: typer.Context) -> None:
        """Read what ``file`` says about the command of ``ctx``.

        Raises:
            ConfigError: the file has keys that no command knows, or values of other types.
        """
        self.file = file
        file.check_names(_keys(ctx.find_root().command))
        options = {option.key: option for option in configured(ctx.command)}
        self.entries: dict[str, Entry] = {}
        """By the name of the parameter."""
        for entry in file.entries(_words(ctx)):
            if option := options.get(entry.key):
                self.entries[option.name] = entry
        super().__init__(
            {
                option.name: option.texts(self.entries[option.name])
                for option in options.values()
                if option.name in self.entries
            }
        )


def configured(command: Any) -> list[ConfiguredOption]:
    """The flags of a command that the environment and the file may set."""
    return [option for option in command.params if isinstance(option, ConfiguredOption)]


def commands_of(command: Any, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """The commands of a group by the words by which they are called; a command is its own."""
    inner = getattr(command, "commands", None)
    if inner is None:
        return {words: command}
    found: dict[tuple[str, ...], Any] = {}
    for word, one in inner.items():
        found |= commands_of(one, (*words, word))
    return found


def overrule_rivals(ctx: typer.Context) -> None:
    """Reset flags to their defaults that exclude one from a stronger source.

    Two from one source are left as they are: the command reports them.
    """
    parameters = {one.name: one for one in ctx.command.params}
    for pair in _RIVALS:
        given = [one for name in pair if (one := parameters.get(name)) and _is_given(one, ctx)]
        if len(given) < len(pair):
            continue
        weaker, stronger = sorted(given, key=lambda one: _strength(one, ctx))
        source = ctx.get_parameter_source(weaker.name)
        if source is not None and _strength(weaker, ctx) < _strength(stronger, ctx):
            ctx.params[weaker.name] = weaker.process_value(ctx, weaker.default)
            ctx.set_parameter_source(weaker.name, type(source)["DEFAULT"])


def _is_given(parameter: Any, ctx: typer.Context) -> bool:
    value = ctx.params.get(parameter.name)
    return _level(parameter, ctx) > 0 and value is not None and value is not False


def _level(parameter: Any, ctx: typer.Context) -> int:
    source = ctx.get_parameter_source(parameter.name)
    return 0 if source is None else _LEVELS[source.name]


def _strength(parameter: Any, ctx: typer.Context) -> tuple[int, int]:
    """How strong the source of a parameter's value is."""
    rank = 0
    if isinstance(parameter, ConfiguredOption):
        match parameter.source(ctx):
            case Entry() as entry:
                rank = len(entry.section)
            case str() as variable:
                rank = -variables_of(parameter.key).index(variable)
    return _level(parameter, ctx), rank


def _keys(app: Any) -> dict[tuple[str, ...], set[str]]:
    return {
        words: {option.key for option in configured(command)}
        for words, command in commands_of(app).items()
    }


def _words(ctx: typer.Context) -> tuple[str, ...]:
    """The words by which a command is called."""
    words: tuple[str, ...] = ()
    inner: Any = ctx
    while inner.parent is not None:
        words = (inner.info_name, *words)
        inner = inner.parent
    return words
