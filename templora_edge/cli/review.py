"""Review of a translated block in the user's editor."""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from templora_edge.cli.screen import SCREEN
from templora_edge.errors import OptionError
from templora_edge.host.text_file import read_text
from templora_edge.translation.prompt import Pair

HEAD: Final = "Edit the lines that begin with >; the adapter learns what you leave there."
SOURCE: Final = "< "
TRANSLATION: Final = "> "


def edit_block(pairs: Sequence[Pair]) -> list[str]:
    """Open ``pairs`` in $VISUAL or $EDITOR (vi if neither is set).

    Returns:
        The edited translations, one for each pair.

    Raises:
        OptionError: the editor fails, or a translation is missing or empty.
    """
    text = "\n\n".join(
        [HEAD, *(f"{SOURCE}{pair.source}\n{TRANSLATION}{pair.translation}" for pair in pairs)]
    )
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.NamedTemporaryFile("w+", suffix=".txt", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        SCREEN.clear()
        try:
            subprocess.run([*shlex.split(editor), file.name], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise OptionError(f"--review: {editor} failed ({error}); set EDITOR") from error
        lines = read_text(Path(file.name)).split("\n")
    edited = [line.removeprefix(TRANSLATION).strip() for line in lines if line.startswith(">")]
    if len(edited) != len(pairs) or not all(edited):
        raise OptionError(
            f"--review: {len(edited)} lines begin with >; expected {len(pairs)}, none empty; run "
            "the same command to try again"
        )
    return edited
