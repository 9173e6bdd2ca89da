"""Ctrl-C while the training process works: no answer is lost, torn or mistaken for another."""

import gc
import json
import linecache
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import psutil
import pytest
from parity import TRAIN
from paths import ROOT
from warm import CALL, Forked

from templora_edge import SamplingOptions, TempLora
from templora_edge.options import PAPER
from templora_edge.protocols import Update
from templora_edge.training import channel, client
from templora_edge.training.client import SidecarTrainer

pytestmark = pytest.mark.usefixtures("fresh_trainers")
LORA = replace(PAPER, rank=4, learning_rate=1e-3)
OURS = {channel.__file__, client.__file__}
STARTS = "_start_trainer"
"""The method of a session that starts the training process."""
LAST_LINES = ("return update", "return path")
"""No call follows this line, and Python handles signals only during calls."""
Result = TypeVar("Result")


@pytest.mark.slow
def test_interrupts_at_random_moments_change_nothing(
    tiny_gguf: Callable[[str], Path], tmp_path: Path
) -> None:
    result = subprocess.run(
        [sys.executable, ROOT / "tests" / "interrupted.py", tiny_gguf("f32"), tmp_path],
        check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    differences, interrupts = json.loads(result.stdout)
    assert not differences
    assert interrupts >= 10


def interrupt_at(where: int | str, call: Callable[[], Result]) -> Result:
    """Do ``call()``, with a KeyboardInterrupt in place of a line of the parent's half.

    Args:
        where: the line's number among those run, or its text.
    """
    seen = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Callable[..., Any] | None:
        nonlocal seen
        if frame.f_code.co_filename not in OURS and frame.f_code.co_name != STARTS:
            return None
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        if event == "line" and line not in LAST_LINES:
            seen += 1
            if where in (seen, line):
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        return call()
    finally:
        sys.settrace(None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `trainer` writes to."""
    return tmp_path_factory.mktemp("trainer")


@pytest.fixture(scope="module")
def trainer(tiny_gguf: Callable[[str], Path], folder: Path) -> Iterator[SidecarTrainer]:
    with SidecarTrainer(tiny_gguf("f32"), replace(TRAIN, lora=LORA), folder) as made:
        made.wait_ready()
        yield made


@pytest.fixture(scope="module")
def reference(
    tiny_gguf: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SidecarTrainer]:
    """A trainer that is never interrupted; every test trains both on the same blocks."""
    folder = tmp_path_factory.mktemp("reference")
    with SidecarTrainer(tiny_gguf("f32"), replace(TRAIN, lora=LORA), folder) as made:
        yield made


def without_memory(update: Update) -> Update:
    return replace(update, rss_bytes=0)


def exported(trainer: SidecarTrainer) -> bytes:
    path = trainer.export()
    content = path.read_bytes()
    path.unlink()
    return content


def test_an_interrupt_at_any_line(
    trainer: SidecarTrainer, reference: SidecarTrainer, tokens: list[int], folder: Path
) -> None:
    """Repeating a call of `train` resumes it; other interrupted calls leave nothing behind."""
    n_lines, interrupted = 0, True
    while interrupted:  # up to a round that is done before that many lines
        n_lines, interrupted = n_lines + 1, False
        block = tokens[n_lines : n_lines + 16]
        expected = without_memory(reference.train([], block))
        try:
            update = interrupt_at(n_lines, partial(trainer.train, [], block))
        except KeyboardInterrupt:
            interrupted = True
            update = trainer.train([], block)
        assert without_memory(update) == expected
        try:
            interrupt_at(n_lines, trainer.export).unlink()
        except KeyboardInterrupt:
            interrupted = True
        assert exported(trainer) == exported(reference)
    assert n_lines > 10
    assert not files_in(folder)


def files_in(folder: Path) -> list[Path]:
    """Files written there; torch makes folders for code that it might compile."""
    return [path for path in folder.rglob("*") if path.is_file()]


def interrupt_while_waiting(trainer: SidecarTrainer, call: Callable[[], object]) -> None:
    """Interrupt ``call`` after it was posted; the child is stopped, so no answer comes first."""
    child = psutil.Process(trainer.pid)
    child.suspend()
    with pytest.raises(KeyboardInterrupt):
        interrupt_at("self._woken.get()", call)
    child.resume()


def test_the_next_call_waits_for_an_interrupted_one(
    trainer: SidecarTrainer, reference: SidecarTrainer, tokens: list[int], folder: Path
) -> None:
    interrupt_while_waiting(trainer, lambda: trainer.train([], tokens[:200]))
    first = reference.train([], tokens[:200])
    assert exported(trainer) == exported(reference), "the block is learned all the same"
    interrupt_while_waiting(trainer, trainer.export)
    interrupt_while_waiting(trainer, lambda: trainer.save(folder / "state"))
    second = reference.train(tokens[:32], tokens[32:64])
    update = trainer.train(tokens[:32], tokens[32:64])
    assert without_memory(update) == without_memory(second) != without_memory(first)
    assert not files_in(folder)


def test_the_same_block_again_is_learned_again(
    trainer: SidecarTrainer, reference: SidecarTrainer, tokens: list[int]
) -> None:
    """Only the call right after an interrupted one resumes it."""
    block = tokens[:64]
    interrupt_while_waiting(trainer, lambda: trainer.train([], block))
    again = [trainer.train([], block), trainer.train([], block)]
    interrupt_while_waiting(trainer, lambda: trainer.train([], block))
    exported(trainer)
    again.append(trainer.train([], block))
    updates = [reference.train([], block) for _ in range(4)]
    del updates[2]  # whose update nobody took
    assert list(map(without_memory, again)) == list(map(without_memory, updates))


@pytest.mark.slow
# after an interrupt, a process may be nobody's: it ends, and its pipes are left to the collector
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_an_interrupt_at_any_line_while_training_starts(
    tiny_gguf: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later call starts it, or waits for it: the prompt is learned once, and nothing is left."""
    monkeypatch.setattr(client, "COMMAND", Forked("templora_edge.training"))
    prompt = "The captain saw the sea and the sailors. "
    kept = tmp_path / "kept.gguf"
    expected, n_lines, ready = b"", 0, False
    while not ready:  # up to a round that is ready before that many lines
        with TempLora(tiny_gguf("f32"), n_ctx=256, block_len=64, rank=4, n_threads=1) as text:
            if n_lines > 0:
                with suppress(KeyboardInterrupt):
                    interrupt_at(n_lines, partial(text.absorb, prompt))
                ready = text.trainer is not None and text.trainer.peak_rss_bytes > 0
            else:
                text.absorb(prompt)
            text.save_adapter(kept)
            assert len(text.blocks) == 1
            assert text.blocks[0].loss_before is not None
            assert len(list(text.generate(n_predict=2, sampling=SamplingOptions(seed=1)))) > 0
        if n_lines == 0:
            expected = kept.read_bytes()
        assert kept.read_bytes() == expected
        n_lines += 1
    assert n_lines > 20
    gc.collect()
    left = [one for one in psutil.Process().children() if CALL.name in " ".join(one.cmdline())]
    assert not left


@pytest.mark.parametrize("ending", ["sys.exit(3)", "trainer.close(); sys.exit(3)"])
def test_a_program_that_ends_after_an_interrupt_waits_for_nothing(
    ending: str, tiny_gguf: Callable[[str], Path], tmp_path: Path
) -> None:
    script = f"""
import signal, sys
from pathlib import Path
from templora_edge.models.base_gguf import BaseGguf
from templora_edge.options import Options
from templora_edge.training.client import SidecarTrainer

base = Path({str(tiny_gguf("f32"))!r})
options = Options().changed(n_ctx=512, n_threads=1, epochs=10**9).resolve(BaseGguf(base))
trainer = SidecarTrainer(base, options, Path({str(tmp_path)!r}))
trainer.wait_ready()
print(trainer.pid, flush=True)
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
try:
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    trainer.train([], range(1, 200))  # for years
except KeyboardInterrupt:
    {ending}
"""
    result = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stderr) == (3, "")
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(result.stdout)).wait(30)
