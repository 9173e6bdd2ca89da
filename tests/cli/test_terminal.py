"""Runs on terminals: no queries, no wrapped lines, text and progress kept apart."""

import json
import os
import re
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

import pytest
from command import TEMPLORA
from emulator import Emulator
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import PROSE
from terminal import Terminal, live_lines, start

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.cli.screen import Screen

GENERATE = [*TEMPLORA, "generate", "-p", "It was", "-s", "1", "-t", "1", "--ignore-eos"]
SPEED = [*GENERATE, "--no-templora", "-c", "512", "-n", "800"]
PLAIN = [*GENERATE, "-c", "128", "--block", "16", "-n", "80", "--no-templora"]
LEARNING = [*PLAIN[:-1], "--rank", "4", "--own-learning-rate", "5e-5"]
QUERY = re.compile(r"\x1b\[[?>=]?[\d;]*[cnx]|\x1b\[\d*;?\d*t|\x1bZ|\x05|\x1b[P\]]|\$p")
"""Device attributes and status, cursor position, window size, colours, terminfo, modes."""


def rate(output: str) -> float:
    """Tokens per second, from a run's last line."""
    [found] = re.findall(r"tokens in [\d.]+ s \((\d+) tok/s\)", output)
    return float(found)


def test_a_terminal_that_never_answers_costs_no_speed(
    terminal: Callable[..., Terminal],
) -> None:
    """In at least one of a few rounds: a busy machine slows down one or the other at random."""
    on_terminal, in_pipe = [0.0], [1.0]
    while max(on_terminal) < 0.9 * max(in_pipe) and len(in_pipe) <= 12:
        window = terminal(100)
        output = window.finish(start(SPEED, stdout=subprocess.DEVNULL, stderr=window.file))
        assert "block 1 of" in output
        on_terminal.append(rate(output))
        piped = start(SPEED, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        in_pipe.append(rate(piped.communicate(timeout=60)[1].decode()))
    assert max(on_terminal) >= 0.9 * max(in_pipe), (on_terminal, in_pipe)


@pytest.mark.parametrize("shared", [False, True])
def test_keys_typed_ahead_are_kept_and_nothing_is_asked(
    shared: bool, terminal: Callable[..., Terminal]
) -> None:
    window = terminal(100)
    modes = termios.tcgetattr(window.file)
    product = window.file if shared else subprocess.DEVNULL
    command = LEARNING if shared else [*PLAIN, "-n", "1600"]
    process = start(command, stdin=window.file, stdout=product, stderr=window.file)
    window.read_until(b"block 2 of")
    window.type(b"ls -l\n")
    output = window.finish(process)
    assert window.typed() == b"ls -l\n"
    assert not QUERY.search(output)
    assert termios.tcgetattr(window.file) == modes


def test_a_line_never_wraps(terminal: Callable[..., Terminal]) -> None:
    window = terminal(30)
    output = window.finish(start(PLAIN, stdout=subprocess.DEVNULL, stderr=window.file))
    *drawn, summary = live_lines(output)
    assert summary.startswith("80 tokens in")  # printed whole, for it stays
    assert re.fullmatch(r"block 5 of 5, ETA 0:00", drawn[-1])
    assert max(map(len, drawn)) <= 29  # the last column would make some terminals wrap


def test_a_line_never_wraps_after_the_terminal_has_become_narrow(
    terminal: Callable[..., Terminal],
) -> None:
    window = terminal(100)
    process = start([*PLAIN, "-n", "1600"], stdout=subprocess.DEVNULL, stderr=window.file)
    window.read_until(b"block 2 of")
    window.resize(30)
    window.read_until(b"block 50 of")  # by now all is drawn at the new width
    before = len(window.output)
    output = window.finish(process)
    assert max(map(len, live_lines(output[:before]))) > 30
    drawn = live_lines(output[before:])[1:-1]
    assert drawn
    assert max(map(len, drawn)) <= 29


@pytest.mark.parametrize(
    ("command", "columns", "rows"), [(PLAIN, 100, 24), (LEARNING, 40, 4), (PLAIN, 7, 3)]
)
def test_text_and_progress_share_a_terminal(
    command: list[str], columns: int, rows: int, terminal: Callable[..., Terminal]
) -> None:
    """After the run, the screen shows the text as if there had been no progress line."""
    window = terminal(columns, rows)
    output = window.finish(start(command, stdout=window.file, stderr=window.file))
    assert "\rblock" in output
    product = subprocess.run(command, check=True, capture_output=True).stdout.decode()
    shown, alone = Emulator(columns, rows), Emulator(columns, rows)
    shown.feed(output)
    alone.feed(product.replace("\n", "\r\n"))
    n_lines = len(alone.lines)
    assert shown.lines[:n_lines] == alone.lines
    assert "".join(shown.lines[n_lines:]).startswith("80 tokens in")


def test_a_dumb_terminal_gets_whole_lines(terminal: Callable[..., Terminal]) -> None:
    window = terminal(30)
    process = start(PLAIN, stdout=subprocess.DEVNULL, stderr=window.file, TERM="dumb")
    output = window.finish(process)
    assert "\x1b" not in output
    assert [line.partition(",")[0] for line in output.splitlines()[:5]] == [
        f"block {k} of 5" for k in range(1, 6)
    ]


def test_no_colour_anywhere(terminal: Callable[..., Terminal]) -> None:
    window = terminal(100)
    command = [*TEMPLORA, "passkey", "--length", "100", "--mode", "base", "--depths", "1"]
    output = window.finish(start(command, stdout=window.file, stderr=window.file, NO_COLOR="1"))
    assert re.search(r"found|lost", output)
    assert not re.search(r"\x1b\[[\d;]*3\dm", output)


@pytest.mark.parametrize("stderr", ["pipe", "terminal"])
def test_a_warning_is_a_line_of_its_own(stderr: str, terminal: Callable[..., Terminal]) -> None:
    command = [*TEMPLORA, "perplexity", str(PROSE), "--max-tokens", "64", "-c", "4096", "--json"]
    expected = (
        f"templora: warning: -c 4096 is over the 2048 tokens that {BUNDLED_MODEL.name} was "
        "trained on; past them text falls apart; add --self-extend auto, or --rope-scaling yarn "
        "with --rope-freq-scale 0.5"
    )
    if stderr == "pipe":
        result = subprocess.run(command, check=True, capture_output=True, text=True)
        lines = result.stderr.splitlines()
        json.loads(result.stdout)
    else:
        window = terminal(300)
        output = window.finish(start(command, stdout=subprocess.DEVNULL, stderr=window.file))
        emulator = Emulator(300, 24)
        emulator.feed(output)
        lines = emulator.lines
    assert [line for line in lines if "warning" in line] == [expected]  # not once a session


@contextmanager
def screen_on(window: Terminal) -> Iterator[tuple[Screen, IO[str]]]:
    """A screen in this process, both of whose streams are ``window``."""
    with (
        os.fdopen(os.dup(window.file), "w", encoding="utf-8") as stream,
        pytest.MonkeyPatch.context() as m,
    ):
        m.setattr(sys, "stdout", stream)
        m.setattr(sys, "stderr", stream)
        m.setenv("TERM", "xterm")
        yield Screen(), stream


STEPS = st.lists(
    st.one_of(
        st.text("ab 中é\n", max_size=12),
        st.integers(0, 40).map(lambda size: "#" * size + "!"),
        st.just("~said"),
    ),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS, columns=st.integers(2, 12), rows=st.integers(2, 5))
def test_whatever_is_written_and_shown_the_text_stays(
    steps: list[str], columns: int, rows: int
) -> None:
    """Against a screen that only ever gets the text; # is shown, ~ is said."""
    window = Terminal(columns, rows)
    shown, alone = Emulator(columns, rows), Emulator(columns, rows)
    inside = False  # of a line of text
    try:
        with screen_on(window) as (screen, stream):
            for step in steps:
                if step.startswith("#") or step.endswith("!"):
                    screen.show(step, force=True)
                elif step.startswith("~"):
                    screen.say(step)
                    alone.feed("\r\n" * inside + step + "\r\n")
                    inside = False
                else:
                    screen.make_way(step)
                    stream.write(step)
                    stream.flush()
                    alone.feed(step.replace("\n", "\r\n"))
                    inside = not step.endswith("\n") if step else inside
                while window.read():
                    pass
            screen.clear()
            while window.read():
                pass
        shown.feed(window.output.decode())
    finally:
        window.close()
    assert shown.lines == alone.lines


def test_messages_that_nobody_reads_do_not_end_a_run() -> None:
    process = start(PLAIN, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.close()
    process.stderr = None
    product, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(product.split()) > 20
