"""How long threads wait awake: what libgomp takes from the environment, in both processes."""

import os
import re
import subprocess
import sys

import pytest

from templora_edge.host.cores import SPIN_COUNT
from templora_edge.training.client import child_environment

NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")

WRITES = "from templora_edge.engine import LlamaEngine"
TRAINS = "import torch"


def taken_by_libgomp(code: str, environment: dict[str, str]) -> dict[str, str]:
    """The variables that libgomp says it has taken when ``code`` loads it."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"OMP_DISPLAY_ENV": "verbose"},
        check=True,
        capture_output=True,
        text=True,
    )
    found = dict(re.findall(r"(\w+) = '(\w+)'", done.stderr))
    if "GOMP_SPINCOUNT" not in found:
        pytest.skip("llama.cpp or torch is built with another OpenMP than libgomp, or with none")
    return {name: found[name] for name in NAMES}


@pytest.mark.parametrize("code", [WRITES, TRAINS])
@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, SPIN_COUNT), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")],
)
def test_threads_wait_awake_as_long_as_is_said(
    code: str, given: dict[str, str], spins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    environment = dict(os.environ) if code == WRITES else child_environment()
    taken = taken_by_libgomp(code, environment)
    assert taken["GOMP_SPINCOUNT"] == spins
    assert taken["OMP_WAIT_POLICY"] == given.get("OMP_WAIT_POLICY", "PASSIVE")
