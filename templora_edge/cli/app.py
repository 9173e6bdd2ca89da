"""The application and its commands. Each command imports what it needs when it runs."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from templora_edge import __version__
from templora_edge.cli.bench import bench
from templora_edge.cli.command import CONFIG_HELP, Command
from templora_edge.cli.config import config
from templora_edge.cli.convert import convert_app
from templora_edge.cli.evaluate import evaluate
from templora_edge.cli.export import export
from templora_edge.cli.generate import generate
from templora_edge.cli.info import info
from templora_edge.cli.models import models
from templora_edge.cli.output import write
from templora_edge.cli.passkey import passkey
from templora_edge.cli.perplexity import perplexity
from templora_edge.cli.report import report
from templora_edge.cli.shelf import shelf
from templora_edge.cli.status import status
from templora_edge.cli.terms import terms
from templora_edge.cli.translate import translate

app = typer.Typer(
    name="templora",
    help="Write texts far longer than a local model's context: Temp-LoRA on llama.cpp.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    *(generate, translate, shelf, status, export, terms),
    *(report, evaluate, perplexity, passkey, bench, info, models, config),
):
    app.command(cls=Command)(command)
app.add_typer(convert_app, name="convert")


def _show_version(wanted: bool) -> None:
    if wanted:
        write(f"templora {__version__} (llama-cpp-python {version('llama-cpp-python')})\n")
        raise typer.Exit


def _keep_file(ctx: typer.Context, path: Path | None) -> None:
    ctx.obj = path  # for the command


@app.callback()
def root(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show versions and exit."
        ),
    ] = False,
    config_file: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", callback=_keep_file, help=CONFIG_HELP),
    ] = None,
) -> None:
    """Write texts far longer than a local model's context: Temp-LoRA on llama.cpp."""
