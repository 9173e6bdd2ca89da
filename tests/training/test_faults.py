"""Runs that are interrupted or killed, for real."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from command import TEMPLORA
from parity import TRAIN

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.errors import InsufficientMemoryError, OutputError, SidecarError
from templora_edge.host.workspace import PREFIX, Workspace, default_root
from templora_edge.training.client import SidecarTrainer

pytestmark = pytest.mark.usefixtures("fresh_trainers")


def leftovers() -> list[Path]:
    return list(default_root().glob(f"{PREFIX}*"))


class Run:
    """A long `templora generate` that learns its own text, and has made its first swap."""

    def __init__(self, *arguments: object) -> None:
        # a test run in the background of a script ignores Ctrl-C, which children inherit
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.process = subprocess.Popen(
            [*TEMPLORA, "generate", "-p", "It was", "-n", "100000", "-c", "128", "--block", "16",
             "--ignore-eos", "-s", "1", "--own-learning-rate", "5e-5", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self.process.stderr is not None
        self.lines: list[str] = []
        for line in self.process.stderr:
            self.lines.append(line)
            if line.startswith("block 2 "):
                break
        [self.sidecar] = psutil.Process(self.process.pid).children()

    def finish(self) -> int:
        _, rest = self.process.communicate(timeout=60)
        self.lines += rest.splitlines(keepends=True)
        self.sidecar_is_gone()
        return self.process.returncode

    def sidecar_is_gone(self) -> None:
        psutil.wait_procs([self.sidecar], timeout=30)
        assert not self.sidecar.is_running() or self.sidecar.status() == psutil.STATUS_ZOMBIE

    def errors(self) -> list[str]:
        return [line.strip() for line in self.lines if not line.startswith("block ")]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_leave_nothing(number: signal.Signals, code: int, tmp_path: Path) -> None:
    run = Run("--report", tmp_path / "report.json")
    run.process.send_signal(number)
    assert run.finish() == code
    assert run.errors() == []
    assert not leftovers()
    report = json.loads((tmp_path / "report.json").read_text())  # finished blocks are reported
    assert report["total"]["finished"] is False
    assert len(report["blocks"]) >= 2
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_ctrl_c_while_training_starts(tmp_path: Path) -> None:
    """The process starts when the engine is ready, for the prompt alone."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("The captain saw the sea and the sailors. " * 40)
    process = subprocess.Popen(
        [*TEMPLORA, "generate", "-f", str(prompt), "-n", "8", "-c", "128", "--block", "16"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    while not (started := psutil.Process(process.pid).children()):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == 130
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive
    assert not leftovers()


SIGNAL_IN_THE_LOG = """
import _thread, operator, os, sys
from functools import partial
import llama_cpp
from templora_edge.engine import backend
backend.start()
load = llama_cpp.llama_model_load_from_file
def work():
    # consecutive C functions: the interpreter cannot run the signal handler before llama.cpp logs
    # that there is no such file
    list(map(operator.call, [
        partial(_thread.interrupt_main, int(sys.argv[1])),
        partial(load, b"/no/such/file", llama_cpp.llama_model_default_params()),
        partial(os.write, 1, b"after"),
    ]))
    print("lost")
"""


def signal_in_the_log(number: int, then: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", SIGNAL_IN_THE_LOG + then, str(number)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_a_ctypes_callback_is_not_lost(number: signal.Signals) -> None:
    """In callbacks ctypes drops exceptions of signal handlers; llama.cpp's log is a callback."""
    then = "from templora_edge.cli import __main__, app; app.app = work; __main__.main()"
    result = signal_in_the_log(number, then)
    assert result.returncode == 128 + number
    assert result.stdout == "after"
    assert not result.stderr


def test_ctrl_c_in_a_callback_is_not_lost_either() -> None:
    """The same for users of the package without its command."""
    result = signal_in_the_log(
        signal.SIGINT,
        """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    work()
except KeyboardInterrupt:
    print(" and interrupted,", backend.last_error())
""",
    )
    assert result.stdout.startswith("after and interrupted, gguf_init_from_file: failed to open")
    assert not result.stderr


def test_a_log_callback_in_python_would_lose_it() -> None:
    """The tests above would fail without the fix."""
    python = "callback = llama_cpp.llama_log_callback(lambda *_: None)\n"
    python += "llama_cpp.llama_log_set(callback, None)\nwork()"
    result = signal_in_the_log(signal.SIGINT, python)
    assert result.stdout == "afterlost\n"
    assert "KeyboardInterrupt" in result.stderr


def test_a_killed_run_ends_its_sidecar_and_the_next_one_cleans_up() -> None:
    run = Run()
    run.process.kill()
    run.finish()
    for path in leftovers():  # the next start removes what the kill left, and nothing else
        assert path.is_dir()
    with Workspace() as workspace:
        assert leftovers() == [workspace.path]
    assert not leftovers()


def test_a_killed_sidecar_is_one_line(tmp_path: Path) -> None:
    run = Run("--report", tmp_path / "report.json")
    run.sidecar.kill()
    assert run.finish() == 1
    [error] = run.errors()
    assert error.startswith("templora: the training process was killed (signal 9)")
    assert not leftovers()
    report = json.loads((tmp_path / "report.json").read_text())
    assert sum(block["tokens"] for block in report["blocks"]) == report["total"]["tokens"] > 0


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow past 100 kB, in this process and its children: a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_temporary_storage_that_fills_up(tmp_path: Path) -> None:
    with SidecarTrainer(BUNDLED_MODEL, TRAIN, tmp_path) as trainer:
        trainer.train([], range(1, 20))
        with pytest.raises(OutputError, match="no adapter can be written there"):
            trainer.export()


def test_an_adapter_that_does_not_fit_the_memory(tmp_path: Path) -> None:
    with SidecarTrainer(BUNDLED_MODEL, TRAIN.changed(rank=200_000, alpha=64), tmp_path) as trainer:
        limit = 2**31
        psutil.Process(trainer.pid).rlimit(psutil.RLIMIT_AS, (limit, limit))
        with pytest.raises(
            InsufficientMemoryError, match=r"training needs about|does not fit the memory"
        ):
            trainer.wait_ready()


def test_a_sidecar_whose_base_vanishes(tmp_path: Path) -> None:
    with SidecarTrainer(tmp_path / "gone.gguf", TRAIN, tmp_path) as trainer:
        with pytest.raises(Exception, match=r"gone\.gguf: no such file"):
            trainer.wait_ready()
        with pytest.raises(Exception, match=r"gone\.gguf: no such file"):  # the cause is reported
            trainer.train([], [1, 2])
    with pytest.raises(SidecarError, match="closed"):
        trainer.train([], [1, 2])


def test_the_sidecar_ignores_ctrl_c(tmp_path: Path) -> None:
    with SidecarTrainer(BUNDLED_MODEL, TRAIN.changed(rank=4, alpha=64), tmp_path) as trainer:
        trainer.wait_ready()
        os.kill(trainer.pid, signal.SIGINT)
        assert trainer.train([1], range(2, 20)).loss_before
