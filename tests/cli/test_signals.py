"""Signals that come while the command line is loaded."""

import signal
import subprocess
import sys

import pytest

SIGNAL_AT_IMPORT = """
import os, sys

module, number = sys.argv[1], int(sys.argv[2])

class Signals:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), number)

sys.meta_path.insert(0, Signals())
from templora_edge.cli.__main__ import main
sys.argv[:] = ["templora", "--version"]
main()
"""
"""Sends itself a signal when it is about to import a module."""


def version_with(
    module: str, number: signal.Signals, handler: signal.Handlers
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", SIGNAL_AT_IMPORT, module, str(int(number))],
        capture_output=True, text=True, check=False, timeout=60,
        preexec_fn=lambda: signal.signal(number, handler),
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "module", ["templora_edge.cli.app", "typer", "templora_edge.options", "psutil"]
)
def test_a_signal_while_modules_are_loaded(module: str, number: signal.Signals) -> None:
    result = version_with(module, number, signal.SIG_DFL)
    assert (result.returncode, result.stdout, result.stderr) == (128 + number, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_the_caller_ignores_stays_ignored(number: signal.Signals) -> None:
    result = version_with("typer", number, signal.SIG_IGN)
    assert result.returncode == 0
    assert result.stdout.startswith("templora ")
