"""docs/cli.md, from the commands themselves: `python tests/cli/reference.py` writes it again."""

from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from templora_edge.cli.app import app

PATH = Path(__file__).parents[2] / "docs" / "cli.md"


def reference() -> str:
    """Every command and flag, in Markdown."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="templora")
    docs = get_docs_for_click(obj=command, ctx=context, name="templora")
    return docs.replace("\b\n", "").rstrip() + "\n"  # the mark that keeps --help from wrapping


if __name__ == "__main__":
    PATH.write_text(reference(), encoding="utf-8")
