"""The commands. Each loads what it needs when it runs."""

import typer

from templora_edge.cli.convert import convert_app
from templora_edge.cli.evaluate import evaluate
from templora_edge.cli.generate import generate
from templora_edge.cli.info import info
from templora_edge.cli.passkey import passkey
from templora_edge.cli.perplexity import perplexity
from templora_edge.cli.translate import status, translate

app = typer.Typer(
    name="templora",
    help="Write texts far longer than a local model's context: Temp-LoRA on llama.cpp.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(generate)
app.command()(translate)
app.command()(status)
app.command()(evaluate)
app.command()(perplexity)
app.command()(passkey)
app.command()(info)
app.add_typer(convert_app, name="convert")


@app.callback()
def root() -> None:
    """Write texts far longer than a local model's context: Temp-LoRA on llama.cpp."""
