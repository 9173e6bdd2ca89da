"""Runs of the `templora` command."""

import subprocess
import sys
from pathlib import Path

from warm import Forked

from templora_edge.host.workspace import default_root

TEMPLORA = [sys.executable, "-m", "templora_edge.cli"]
"""The command for tests that start and end processes themselves; `run` avoids a new interpreter."""
FORKED = Forked("templora_edge.cli")
SMALL = ["-n", "40", "-c", "128", "--block", "16", "-s", "1", "--ignore-eos"]
"""Options of a short `generate`."""
LANGUAGES = ["-sl", "fr", "-tl", "en"]
SMALL_JOB = [*LANGUAGES, "-c", 256, "--block", 32, "--rank", 4, "--own-learning-rate", 1e-5]
"""Options of a quick `translate` that learns."""


def run(
    *arguments: object, prompt: str | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command; ``prompt`` comes through a pipe."""
    return subprocess.run(
        [*FORKED, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        input=prompt or "",
        cwd=cwd,
    )


def translate(source: Path, *others: object, out: Path | None = None) -> list[object]:
    """Arguments to translate ``source`` to "novel" beside it, with few, short updates."""
    out = out or source.with_name(f"novel{source.suffix}")
    return ["translate", source, "-o", out, *SMALL_JOB, *others]


def check_failure(
    result: subprocess.CompletedProcess[str], *words: str, code: int = 1, product: bool = False
) -> None:
    """Check that the command failed with one line that has ``words``, and left nothing behind."""
    assert result.returncode == code, result.stderr
    errors = [line for line in result.stderr.splitlines() if not line.startswith("block ")]
    assert len(errors) == 1, result.stderr
    assert errors[0].startswith("templora: ")
    for word in words:
        assert word in errors[0]
    assert product or not result.stdout
    assert not list(default_root().glob("templora-*"))
