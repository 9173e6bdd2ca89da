"""`templora translate --review` in terminals, with scripts as editors."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from command import FORKED, LANGUAGES, TEMPLORA, check_failure, run
from terminal import Terminal
from texts import FRENCH

from templora_edge.translation.store.segment_row import Origin, SegmentRow
from templora_edge.translation.store.store import Store

QUICK = [*LANGUAGES, "-c", "256", "--block", "32", "--no-templora"]
CAPITALS = """
for i in range(4, len(parts), 4):
    parts[i] = parts[i].upper()
path.write_text("".join(parts))
"""
"""An editor that writes translations in capitals."""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "roman.txt"
    path.write_text("\n\n".join(FRENCH[:5]) + "\n", encoding="utf-8")
    return path


def make_editor(folder: Path, program: str) -> str:
    """A command with an argument; it notes what it was shown in ``folder``/shown."""
    editor = folder / "an editor.py"
    editor.write_text(
        "import os, pathlib, re, signal, sys\n"
        "path, folder = pathlib.Path(sys.argv[-1]), pathlib.Path(sys.argv[1])\n"
        "number = len(list(folder.iterdir())) if folder.exists() else 0\n"
        "folder.mkdir(exist_ok=True)\n"
        "text = path.read_text()\n"
        "(folder / f'{number:02}').write_text(text)\n"
        "parts = re.split(r'(?m)^([=-]{3,} \\d+\\n)', text)\n" + program  # head, mark, body, ...
    )
    return f"'{sys.executable}' '{editor}' '{folder / 'shown'}'"


def shown(folder: Path) -> list[list[int]]:
    """Ids of the segments that each call of the editor was shown."""
    sheets = sorted((folder / "shown").iterdir()) if (folder / "shown").exists() else []
    return [[int(n) for n in re.findall(r"(?m)^-+ (\d+)$", one.read_text())] for one in sheets]


def rows(text: Path) -> list[SegmentRow]:
    with Store(text.with_name("novel.txt.job"), read_only=True) as store:
        return store.segments()


def review(
    text: Path, window: Terminal, *more: str, **env: str
) -> "subprocess.CompletedProcess[str]":
    """Translate ``text`` to novel.txt with --review; stdin is the terminal ``window``."""
    out = str(text.with_name("novel.txt"))
    return subprocess.run(
        [*FORKED, "translate", str(text), "-o", out, *QUICK, "--review", *more],
        stdin=window.file, capture_output=True, text=True, check=False, timeout=120,
        env={k: v for k, v in os.environ.items() if k not in ("VISUAL", "EDITOR")} | env,
    )  # fmt: skip


def test_every_block_is_shown_and_what_is_left_there_is_kept(
    text: Path, terminal: Callable[..., Terminal]
) -> None:
    editor = make_editor(text.parent, CAPITALS)
    result = review(text, terminal(80), VISUAL=editor, EDITOR="no-such-editor")
    assert result.returncode == 0, result.stderr
    blocks = shown(text.parent)
    assert [number for block in blocks for number in block] == [row.id for row in rows(text)]
    assert len(blocks) > 1
    assert all(row.origin is Origin.EDIT and not row.flags for row in rows(text))
    written = text.with_name("novel.txt").read_text(encoding="utf-8")
    assert written.isupper()
    assert not list(text.with_name("novel.txt.job").glob("review*"))


def test_what_is_left_as_it_is_counts_as_approved(
    text: Path, terminal: Callable[..., Terminal]
) -> None:
    assert run("translate", text, "-o", text.with_name("plain.txt"), *QUICK).returncode == 0
    result = review(text, terminal(80), EDITOR=make_editor(text.parent, ""))
    assert result.returncode == 0, result.stderr
    assert all(row.origin is Origin.EDIT and not row.flags for row in rows(text))
    assert text.with_name("novel.txt").read_bytes() == text.with_name("plain.txt").read_bytes()


FAILURES = {
    "fails": ("sys.exit(3)", "failed with exit code 3"),
    "is killed": ("os.kill(os.getpid(), signal.SIGKILL)", "was ended by signal 9"),
    "fails after it saved": ("path.write_text(text.upper())\nsys.exit(1)", "exit code 1"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_an_editor_that_fails_loses_nothing(
    kind: str, text: Path, terminal: Callable[..., Terminal]
) -> None:
    program, message = FAILURES[kind]
    window = terminal(80)
    second = f"if number == 1:\n    {program.replace(chr(10), chr(10) + '    ')}\n"
    result = review(text, window, EDITOR=make_editor(text.parent, second))
    assert result.returncode == 1
    *_, last = result.stderr.splitlines()
    assert last.startswith("templora: --review: ")
    assert message in last
    assert "shown again when you run the same command" in last
    assert not text.with_name("novel.txt").exists()
    first, unreviewed = shown(text.parent)
    by_id = {row.id: row for row in rows(text)}
    assert {by_id[number].origin for number in first} == {Origin.EDIT}
    assert {by_id[number].origin for number in unreviewed} == {Origin.MODEL}
    result = review(text, window, EDITOR=make_editor(text.parent, ""))
    assert result.returncode == 0, result.stderr
    blocks = shown(text.parent)
    assert blocks[2] == unreviewed
    assert [*first, *(n for block in blocks[2:] for n in block)] == [row.id for row in rows(text)]
    kept = [row.translation for row in rows(text) if row.id in unreviewed]
    assert all(str(one).isupper() == ("saved" in kind) for one in kept)


def test_editors_that_cannot_be_used_are_refused_before_any_work(
    text: Path, terminal: Callable[..., Terminal]
) -> None:
    window = terminal(80)
    check_failure(review(text, window, EDITOR="no-such -w"), "EDITOR=no-such -w: no such program")
    check_failure(review(text, window, VISUAL="'vi"), "VISUAL='vi: No closing quotation")
    check_failure(review(text, window, PATH="/nowhere"), "no editor found; set VISUAL or EDITOR")
    assert not text.with_name("novel.txt.job").exists()


def test_the_first_editor_there_is_is_the_default(
    text: Path, terminal: Callable[..., Terminal]
) -> None:
    folder = text.parent / "bin"
    folder.mkdir()
    nano = folder / "nano"
    nano.write_text(f'#!/bin/sh\nexec {make_editor(text.parent, "")} "$@"\n')
    nano.chmod(0o755)
    result = review(text, terminal(80), PATH=str(folder), VISUAL=" ", EDITOR="")
    assert result.returncode == 0, result.stderr
    assert shown(text.parent)


def test_a_damaged_sheet_is_shown_again(text: Path, terminal: Callable[..., Terminal]) -> None:
    damages = "if number == 0: path.write_text('')\nif number == 1: path.unlink()\n"
    result = review(text, terminal(80), EDITOR=make_editor(text.parent, damages))
    assert result.returncode == 0, result.stderr
    first, second, third, *_ = shown(text.parent)
    assert first == second == third
    sheet = (text.parent / "shown" / "01").read_text()
    assert sheet.startswith("PROBLEM: no line begins with ---")
    warning = "templora: warning: --review: no line begins with --- and the number of a segment"
    assert result.stderr.splitlines().count(warning) == 2


def test_a_sheet_that_is_damaged_again_and_again_ends_the_run(
    text: Path, terminal: Callable[..., Terminal]
) -> None:
    window = terminal(80)
    damages = "path.write_text(text.replace('--- 1\\n', '').replace('.', '!'))\n"
    result = review(text, window, EDITOR=make_editor(text.parent, damages))
    assert result.returncode == 1
    assert len(shown(text.parent)) == 3
    last = result.stderr.splitlines()[-1]
    assert "--- 1: this line is missing before its translation" in last
    [sheet] = text.with_name("novel.txt.job").glob("review*")
    assert str(sheet) in last
    assert "!" in sheet.read_text(), "what a person wrote is kept"
    mended = "path.write_text(re.sub(r'(?m)(^=== 1$\\n.*\\n)', r'\\1--- 1\\n', text))\n"
    result = review(text, window, EDITOR=make_editor(text.parent, mended))
    assert result.returncode == 0, result.stderr
    assert "!" in str(rows(text)[0].translation)


def in_foreground(window: Terminal, command: list[str], **env: str) -> "subprocess.Popen[bytes]":
    """Start ``command`` as a shell does: Ctrl-C in ``window`` reaches it and what it starts."""

    def take_terminal() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    return subprocess.Popen(
        command, stdin=window.file, stdout=window.file, stderr=window.file,
        start_new_session=True, preexec_fn=take_terminal,  # noqa: PLW1509
        env=os.environ | {"TERM": "xterm", "VISUAL": ""} | env,
    )  # fmt: skip


@pytest.mark.parametrize("takes_it_for_a_key", [False, True])
def test_ctrl_c_in_the_editor(
    takes_it_for_a_key: bool, text: Path, terminal: Callable[..., Terminal]
) -> None:
    """It ends most programs, and the run with them; an editor that catches it goes on."""
    window = terminal(80)
    waits = "print('EDITING', flush=True)\nsignal.pause()\n"
    if takes_it_for_a_key:
        waits = (
            "if number == 0:\n"
            "    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
            "    print('EDITING', flush=True)\n"
            "    signal.sigwait([signal.SIGINT])\n"
        )
    command = [*TEMPLORA, "translate", str(text), "-o", str(text.with_name("novel.txt")), *QUICK]
    process = in_foreground(window, [*command, "--review"], EDITOR=make_editor(text.parent, waits))
    window.read_until(b"EDITING")
    window.type(b"\x03")
    while process.poll() is None:
        window.read(0.1)
    while window.read():
        pass
    output = window.output.decode()
    if takes_it_for_a_key:
        assert process.returncode == 0, output
        assert all(row.origin is Origin.EDIT for row in rows(text))
        return
    assert process.returncode == 130, output
    assert "finished segments are kept" in output
    assert not any(row.origin is Origin.EDIT for row in rows(text))
    assert any(row.translation for row in rows(text))
    first = shown(text.parent)[0]
    result = review(text, window, EDITOR=make_editor(text.parent, ""))
    assert result.returncode == 0, result.stderr
    assert shown(text.parent)[1] == first


def test_review_needs_a_terminal(text: Path) -> None:
    result = run("translate", text, "-o", text.with_name("novel.txt"), *QUICK, "--review")
    check_failure(result, "--review: expected a terminal")
