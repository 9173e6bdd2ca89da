"""Ctrl-C, notes, stop texts and chapters of `templora generate`, with and without a job."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import check_failure, run

INTERRUPTED = """
import os, signal, sys
from templora_edge.cli.progress import GenerateProgress

method, count, *at = sys.argv[1], 0, *map(int, sys.argv[2].split(","))
shown = getattr(GenerateProgress, method)

def show(progress, event):
    global count
    shown(progress, event)
    count += 1
    if count in at:
        os.kill(os.getpid(), signal.SIGINT)

setattr(GenerateProgress, method, show)
from templora_edge.cli.__main__ import main
sys.argv[1:] = sys.argv[3:]
main()
"""
"""Sends itself SIGINT after events of these numbers."""

WRITE = ["generate", "-p", "It was a dark night in November.", "-n", 150, "-s", 1, "-c", 128]
WRITE += ["--block", 16, "-t", 1]
ASKED = "ending at the next sentence; Ctrl-C again stops now\n"


def interrupted(
    method: str, at: str, *arguments: object, **variables: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", INTERRUPTED, method, at, *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=120, env=os.environ | variables,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole() -> str:
    """The text of an undisturbed run."""
    result = run(*WRITE)
    assert result.returncode == 0, result.stderr
    return result.stdout


def check_sentence(text: str, whole: str) -> None:
    """Check that ``text`` is the beginning of ``whole`` up to the end of a sentence."""
    written = text.removesuffix("\n")
    assert whole.startswith(written)
    assert 0 < len(written) < len(whole) - 1
    assert (
        written.rstrip("\"'”’").endswith((".", "!", "?", "…")) or "\n" in whole[len(written) :][:2]
    )


def test_once_ends_with_the_sentence(whole: str, tmp_path: Path) -> None:
    report, adapter = tmp_path / "report.json", tmp_path / "kept.gguf"
    rate = ["--own-learning-rate", 1e-9, "--rank", 1]
    outputs = ["--report", report, "--adapter-out", adapter]
    result = interrupted("on_piece", "20", *WRITE, *rate, *outputs)
    assert result.returncode == 0, result.stderr
    assert ASKED in result.stderr
    check_sentence(result.stdout, whole)
    assert adapter.is_file()
    total = json.loads(report.read_text())["total"]
    assert (total["finished"], total["ended_by"]) == (True, "sentence")


def test_twice_stops_at_once_and_leaves_nothing(whole: str, tmp_path: Path) -> None:
    report, temporary = tmp_path / "report.json", tmp_path / "temporary"
    temporary.mkdir()
    result = interrupted(
        "on_piece", "20,21", *WRITE, "--own-learning-rate", 1e-9, "--rank", 1, "--report", report,
        TMPDIR=str(temporary),
    )  # fmt: skip
    assert result.returncode == 130
    assert json.loads(report.read_text())["total"]["finished"] is False
    assert not list(temporary.iterdir())
    assert ASKED in result.stderr
    assert whole.startswith(result.stdout)


def test_nothing_is_gentle_before_the_text_begins() -> None:
    prompt = "It was a dark night in November. " * 20
    result = interrupted("on_absorbed", "1", "generate", "-p", prompt, "-c", 128, "--block", 16)
    assert (result.returncode, result.stdout) == (130, "")
    assert ASKED not in result.stderr


def test_a_job_goes_on_after_a_gentle_end(tmp_path: Path) -> None:
    story, notes = ["--stop", "§§"], tmp_path / "notes.txt"
    notes.write_text("Anna Kerr is the captain.\n\n")
    story += ["--notes", str(notes)]
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    assert run(*WRITE, *story, "-o", first).returncode == 0
    text = first.read_text()
    for at in ("20", "30"):
        result = interrupted("on_piece", at, *WRITE, *story, "-o", second)
        assert result.returncode == 0, result.stderr
        assert "ends with a sentence, and the same command goes on with it" in result.stderr
        check_sentence(second.read_text(), text)
    assert run(*WRITE, *story, "-o", second).returncode == 0
    assert second.read_bytes() == first.read_bytes()
    notes.write_text("Anna Kerr is the cook.")
    check_failure(run(*WRITE, *story, "-o", second), "begun with another notes")


def test_a_stopped_job_is_finished(whole: str, tmp_path: Path) -> None:
    out, adapter = tmp_path / "out.txt", tmp_path / "kept.gguf"
    stop = whole[60:66]
    arguments = [*WRITE, "--stop", stop, "--own-learning-rate", 1e-9, "--rank", 1, "-o", out]
    assert run(*arguments).returncode == 0
    assert out.read_text() == whole[: whole.index(stop)] + "\n"
    again = run(*arguments, "--adapter-out", adapter)
    assert again.returncode == 0, again.stderr
    assert out.read_text() == whole[: whole.index(stop)] + "\n"
    assert adapter.is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--stop", ""], ["--stop: the text is empty"]),
        (["--notes", "missing.txt"], ["--notes missing.txt", "expected a text file"]),
        (["--notes", "empty.txt"], ["--notes empty.txt", "empty", "expected names and facts"]),
        (["--notes", "long.txt"], ["--notes: ", "tokens; at most", "raise --prefix or -c"]),
    ],
)
def test_wrong_uses(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "long.txt").write_text("Anna Kerr is the captain. " * 100)
    check_failure(run(*WRITE, *arguments, cwd=tmp_path), *words)


def test_stdin_is_the_prompt_or_the_notes(whole: str) -> None:
    check_failure(run("generate", "--notes", "-", prompt="Anna."), "stdin is the prompt")
    result = run(*WRITE, "--notes", "-", prompt="Anna Kerr is the captain.")
    assert result.returncode == 0
    assert result.stdout != whole
