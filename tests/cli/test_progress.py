"""Progress in terminals, wide and narrow, and in pipes: captured from real runs."""

import re
import subprocess
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from command import FORKED, LANGUAGES, SMALL, TEMPLORA, run
from paths import PROSE
from terminal import Terminal, live_lines, start
from texts import FRENCH

from templora_edge.cli.progress import CountProgress

QUICK = [*LANGUAGES, "-c", "256", "--block", "64", "--no-templora"]
COUNT = re.compile(r"([\d,]+) of ([\d,]+)(?: .*)? \((\d+) %\)(?:, [\d.,]+ tok/s)?(, ETA [\d:]+)?")
NARROW = re.compile(r"\d+ %(?:, [\d.,]+ tok/s)?(?:, ETA [\d:]+)?")


@pytest.fixture
def commands(tmp_path: Path) -> dict[str, list[str]]:
    """Arguments of long work of every kind."""
    text = tmp_path / "roman.txt"
    text.write_text("\n\n".join(FRENCH) + "\n", encoding="utf-8")
    out = str(tmp_path / "novel.txt")
    score = ["--max-tokens", "400", "-c", "128", "--block", "32", "--no-templora"]
    return {
        "translate": ["translate", str(text), "-o", out, *QUICK],
        "perplexity": ["perplexity", str(PROSE), *score],
        "generate": ["generate", "-p", "It was", *SMALL, "-n", "320", "--no-templora"],
    }


def drawn(window: Terminal, arguments: Sequence[str]) -> list[str]:
    """All lines that are drawn in ``window`` before the summary."""
    process = start([*TEMPLORA, *arguments], stdout=subprocess.DEVNULL, stderr=window.file)
    output = window.finish(process)
    live, _, _ = output.rpartition("\x1b[J")  # the live line is removed at the end
    return live_lines(live)


@pytest.mark.parametrize("columns", [60, 20])
@pytest.mark.parametrize("kind", ["translate", "perplexity", "generate"])
def test_in_a_terminal(
    kind: str, columns: int, commands: dict[str, list[str]], terminal: Callable[..., Terminal]
) -> None:
    first, *lines = drawn(terminal(columns), commands[kind])
    assert first == "loading the model"
    assert len(lines) >= 2
    assert max(map(len, [first, *lines])) < columns, "the last column would make some wrap"
    if kind == "generate":
        assert lines[0] == "reading the prompt"
        assert re.fullmatch(r"(block )?1 of 20(, \d+ tok/s)?, ETA \d:\d\d(, loss .*)?", lines[1])
        return
    assert re.fullmatch(r"0 of .* \(0 %\)", lines[0])
    form = COUNT if columns == 60 else NARROW
    assert all(form.fullmatch(line) for line in lines[1:-1]), lines
    assert all("ETA" in line for line in lines[1:-1])
    assert "100 %" in lines[-1]
    assert "ETA" not in lines[-1]


@pytest.mark.parametrize("kind", ["translate", "perplexity", "generate"])
@pytest.mark.parametrize("where", ["pipe", "dumb"])
def test_where_nothing_can_be_redrawn(
    kind: str, where: str, commands: dict[str, list[str]], terminal: Callable[..., Terminal]
) -> None:
    if where == "pipe":
        result = subprocess.run([*FORKED, *commands[kind]], capture_output=True, check=True)
        output = result.stderr.decode()
        assert "\r" not in output
    else:
        window = terminal(60)
        command = [*TEMPLORA, *commands[kind]]
        process = start(
            command, stdout=subprocess.DEVNULL, stderr=window.file, TERM="dumb", NO_COLOR="1"
        )
        output = window.finish(process)
        assert "\r" not in output.replace("\r\n", "\n")
    assert "\x1b" not in output
    lines = output.splitlines()
    if kind == "generate":
        assert [line.partition(",")[0] for line in lines[:3]] == [
            f"block {k} of 20" for k in (1, 2, 3)
        ]
        return
    what = {"translate": "source tokens translated", "perplexity": "tokens scored"}[kind]
    counts = [line for line in lines if what in line]
    assert re.fullmatch(rf"0 of [\d,]+ {what} \(0 %\)", counts[0])
    assert re.fullmatch(rf"([\d,]+) of \1 {what} \(100 %\), [\d.,]+ tok/s", counts[-1])
    assert lines[0] == counts[0], "at once, before the first segment is done"


def test_after_a_resume(commands: dict[str, list[str]], terminal: Callable[..., Terminal]) -> None:
    stopped = run(*commands["translate"], "--test", 4)
    assert "(100 %)" in stopped.stderr, "of what was asked for"
    assert "next: run the same command, without --test" in stopped.stderr
    _, *lines = drawn(terminal(60), commands["translate"])
    found = [COUNT.fullmatch(line) for line in lines]
    counts = [int(one[1].replace(",", "")) for one in found if one]
    assert len(counts) == len(lines)
    assert counts[0] > 0
    assert "tok/s" not in lines[0], "nothing was done yet"
    assert all(earlier <= later for earlier, later in pairwise(counts))
    begun = next(line for line in lines if "tok/s" in line)
    assert begun == lines[-1] or "ETA" in begun


def test_with_one_segment_none_left_and_a_finished_one(tmp_path: Path) -> None:
    text, out = tmp_path / "one.txt", tmp_path / "out.txt"
    text.write_text(f"{FRENCH[0]}\n", encoding="utf-8")
    command = ["translate", text, "-o", out, *QUICK]
    shown = run(*command, "--test", 3)
    assert shown.returncode == 0, shown.stderr
    first, second, *_ = shown.stderr.splitlines()
    assert re.fullmatch(r"0 of \d+ source tokens translated \(0 %\)", first)
    assert re.fullmatch(r"(\d+) of \1 source tokens translated \(100 %\), .* tok/s", second)
    nothing_left = run(*command)
    first, second, *_ = nothing_left.stderr.splitlines()
    assert re.fullmatch(r"(\d+) of \1 source tokens translated \(100 %\)", first)
    assert second.startswith("1 of 1 segment translated in 0:0")
    finished = run(*command)
    assert finished.stderr.splitlines()[:2] == [f"{out}: was finished already", f"wrote {out}"]


class Recorder:
    """A screen that redraws, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, live: bool = True) -> None:
        self.live = live
        self.lines: list[str] = []
        self.now = 1000.0
        clock = SimpleNamespace(perf_counter=lambda: self.now)
        monkeypatch.setattr("templora_edge.cli.progress.SCREEN", self)
        monkeypatch.setattr("templora_edge.cli.progress.time", clock)

    def show(self, line: str, *shorter: str, force: bool = False) -> None:
        self.lines.append(line)
        assert sorted([line, *shorter], key=len, reverse=True) == [line, *shorter]

    def clear(self) -> None:
        pass


def test_the_rate_is_that_of_this_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Recorder(monkeypatch)
    with CountProgress("tokens scored", "tok/s") as count:
        screen.now += 30  # loading
        count.update(9000, 10_000)
        screen.now += 5  # decoding again what was done
        count.update(9000, 10_000)
        screen.now += 10
        count.update(9100, 10_000)
        with count.away():
            screen.now += 3600  # a person reviews
        screen.now += 10
        count.update(9400, 10_000)
    assert screen.lines[1:] == [
        "9,000 of 10,000 tokens scored (90 %)",
        "9,000 of 10,000 tokens scored (90 %)",
        "9,100 of 10,000 tokens scored (91 %), 10 tok/s, ETA 1:30",
        "9,400 of 10,000 tokens scored (94 %), 20 tok/s, ETA 0:30",
    ]


def test_lines_in_a_pipe_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Recorder(monkeypatch, live=False)
    count = CountProgress("tokens scored", "tok/s")
    for done in range(101):
        count.update(done, 100)
        screen.now += 1
    shares = [re.search(r"\((\d+) %\)", line) for line in screen.lines]
    assert [int(share[1]) for share in shares if share] == [*range(0, 101, 10)]
    count.begin("pairs learned", "pairs/s")
    count.update(0, 0)
    assert screen.lines[-1] == "0 of 0 pairs learned (100 %)"
