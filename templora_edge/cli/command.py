"""The class of all commands: short options as in llama.cpp, defaults from elsewhere."""

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperOption

from templora_edge.cli.config_file import ConfigFile
from templora_edge.cli.configured import ConfiguredOption, FileDefaults, configured, overrule_rivals
from templora_edge.errors import OptionError

_SEVERAL_LETTERS: Final = re.compile(r"-[A-Za-z][A-Za-z-]+")
_FLASH_ATTENTION: Final = ("-fa", "--flash-attn")
CONFIG_HELP: Final = (
    "Read defaults of flags from FILE; default: $TEMPLORA_CONFIG, or "
    "~/.config/templora/config.toml."
)


class Command(TyperCommand):
    """A command whose flags get defaults from the environment and the configuration file.

    Reads -n40 as -n 40, but not -np as -n p; names an unknown option as it was given.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params = [
            ConfiguredOption(one) if isinstance(one, TyperOption) else one for one in self.params
        ]
        self.params.append(_config_flag())

    def make_parser(self, ctx: Any) -> Any:
        """A parser that also knows the opposite of each switch, which --help leaves out."""
        parser = super().make_parser(ctx)
        for option in configured(self):
            if option.is_flag and not option.secondary_opts:
                parser.add_option(
                    option, [option.opposite], option.name, action="store_const", const=False
                )
        return parser

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reject options that this command does not have, then parse the rest."""
        takes_value: dict[str, bool] = {
            name: not option.is_flag
            for option in self.get_params(ctx)
            if isinstance(option, TyperOption)
            for name in (*option.opts, *option.secondary_opts)
        }
        rest = iter(args)
        for argument in rest:
            name = argument.partition("=")[0]
            if argument == "--":
                break
            if argument in takes_value:
                if takes_value[argument]:
                    next(rest, None)
            elif name in takes_value:  # -hf=NAME
                continue
            elif name in _FLASH_ATTENTION:
                ctx.fail(f"{name}: llama.cpp uses flash attention where it can; leave {name} out")
            elif _SEVERAL_LETTERS.fullmatch(name):
                short, value = name[:2], argument[2:]
                hint = f"; for the value {value!r} of {short}, write {short} {value}"
                ctx.fail(f"No such option: {name}{hint if takes_value.get(short) else ''}")
        left = super().parse_args(ctx, args)
        overrule_rivals(ctx)
        return left

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error on a flag that was not given says what gave it.

        Raises:
            TemploraError: as the command.
        """
        try:
            return super().invoke(ctx)
        except OptionError as error:
            error.args = (f"{error}{_sources(ctx, str(error))}",)
            raise
        except typer.BadParameter as error:
            error.message += _sources(ctx, error.message)
            raise


def _sources(ctx: typer.Context, message: str) -> str:
    """Where the flags in ``message`` come from, in brackets, unless from the command line."""
    found = [
        f"{name}: from {source}"
        for option in configured(ctx.command)
        if (source := option.source(ctx)) is not None
        for name in (*option.opts, *option.secondary_opts)
        if re.search(rf"(?<![\w-]){name}(?![\w-])", message)
    ]
    return f" ({'; '.join(found)})" if found else ""


def _use_file(ctx: typer.Context, value: Path | None) -> None:
    """Take the defaults of a command from the file of its --config, or of that before it."""
    ctx.default_map = FileDefaults(ConfigFile.find(value or ctx.obj), ctx)


@cache
def _config_flag() -> Any:
    """--config, which every command has."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def _(
        config: Annotated[
            Path | None,
            typer.Option(
                "--config",
                metavar="FILE",
                help=CONFIG_HELP,
                callback=_use_file,
                is_eager=True,
                expose_value=False,
            ),
        ] = None,
    ) -> None: ...

    flag: Any = typer.main.get_command(app).params[0]
    return flag
