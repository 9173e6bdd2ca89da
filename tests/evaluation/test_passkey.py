"""The passkey test: its texts, its grid, its command."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import TEMPLORA, check_failure, run
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.engine import Model
from templora_edge.evaluation.passkey import (
    FILLER,
    INTRO,
    QUESTION,
    PasskeyJob,
    PasskeyRun,
    is_found,
    passkey_text,
)
from templora_edge.options import Options, PasskeyMode


@given(length=st.integers(120, 3000), depth=st.floats(0, 1), key=st.integers(10_000, 99_999))
@settings(deadline=None, max_examples=30)
def test_texts_are_as_long_and_as_deep_as_asked(length: int, depth: float, key: int) -> None:
    with Model(BUNDLED_MODEL) as model:
        text, n_tokens = passkey_text(model.vocab, length, depth, str(key))
        one_filler = len(model.vocab.tokenize(FILLER))
        assert n_tokens == len(model.vocab.head) + len(model.vocab.tokenize(text))
    assert length - 2 * one_filler < n_tokens <= length + 2  # digits may merge with neighbours
    assert text.startswith(INTRO)
    assert text.endswith(QUESTION)
    assert text.count(str(key)) == 2
    before, after = text.split(f" The pass key is {key}. Remember it. {key} is the pass key.")
    n_before, n_after = before.count(FILLER), after.count(FILLER)
    assert n_before == round(depth * (n_before + n_after))
    assert before == INTRO + FILLER * n_before
    assert after == FILLER * n_after + QUESTION


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (" 12345. The", True), ("12345", True), (" the key 12345 or 54321", True),
        (" 123456", False), (" 1234", False), (" 54321 12345", False), ("", False), (" no", False),
    ],
)  # fmt: skip
def test_what_counts_as_found(answer: str, found: bool) -> None:
    assert is_found("12345", answer) is found


@pytest.mark.slow
def test_every_mode_reads_the_same_text(tiny_gguf: Callable[[str], Path]) -> None:
    """A random model finds nothing; this checks what each mode is given."""
    options = Options().changed(rank=2, n_threads=1, n_ctx=256)
    job = PasskeyJob(tiny_gguf("f32"), (400, 800), 2, options=options)
    run = PasskeyRun(job)
    cells = list(run)
    assert len(cells) == run.n_cells == 4 * 2 * 2
    assert [cell.mode for cell in cells] == [mode for mode in PasskeyMode for _ in range(4)]
    by_place: dict[tuple[int, float], set[tuple[str, int]]] = {}
    for cell in cells:
        by_place.setdefault((cell.length, cell.depth), set()).add((cell.key, cell.n_tokens))
    assert all(len(same) == 1 for same in by_place.values())
    assert len({key for same in by_place.values() for key, _ in same}) == 4
    result = run.result()
    assert result["found"] == dict.fromkeys(PasskeyMode, 0)
    assert result["trained_context"] == 512
    # at a length within the trained context there is nothing to extend
    answers = {(cell.mode, cell.length, cell.depth): cell.answer for cell in cells}
    base, extended = PasskeyMode.BASE, PasskeyMode.SELF_EXTEND
    assert answers[base, 400, 0.0] == answers[extended, 400, 0.0]
    assert answers[base, 800, 0.0] != answers[extended, 800, 0.0]


def test_the_command(tiny_gguf: Callable[[str], Path], tmp_path: Path) -> None:
    picture = tmp_path / "grid.svg"
    flags = ["-m", tiny_gguf("f32"), "--length", 400, "--length", 600, "--depths", 2, "-t", 1]
    modes = ["--mode", "base", "--mode", "self-extend"]
    table = run("passkey", *flags, *modes, "--plot", picture)
    assert table.returncode == 0, table.stderr
    assert "\x1b" not in table.stdout  # no colours in a pipe
    assert [line.split() for line in table.stdout.splitlines()] == [
        ["base"], ["depth", "400", "600"], ["0", "%", "lost", "lost"],
        ["100", "%", "lost", "lost"], ["self-extend"], ["depth", "400", "600"],
        ["0", "%", "lost", "lost"], ["100", "%", "lost", "lost"],
    ]  # fmt: skip
    assert "8 of 8 tests done" in table.stderr
    assert picture.read_text().startswith("<?xml")
    result = json.loads(run("passkey", *flags, *modes, "--json").stdout)
    assert result["found"] == {"base": 0, "self-extend": 0}
    assert len(result["cells"]) == 8
    check_failure(run("passkey", "--length", "40"), "--length 40", "too short", "tokens")
    check_failure(run("passkey", "--plot", "grid.pdf"), "--plot grid.pdf", ".png or .svg")
    assert run("passkey", "--mode", "other").returncode == 2


@pytest.mark.slow
def test_ctrl_c_prints_what_is_there(tiny_gguf: Callable[[str], Path]) -> None:
    command = [*TEMPLORA, "passkey", "-m", str(tiny_gguf("f32")), "--length", "20000"]
    command += ["--length", "400", "--mode", "base", "--depths", "40", "--json"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert process.stderr.readline().startswith("0 of ")
        assert "tests done" in process.stderr.readline()  # one at least
        os.killpg(process.pid, signal.SIGINT)
        begun = time.monotonic()
        out, _ = process.communicate(timeout=60)
        assert time.monotonic() - begun < 30
    assert process.returncode == 130
    assert 1 <= len(json.loads(out)["cells"]) < 80
