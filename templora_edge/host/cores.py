"""Number of cores this process may use, and how its threads wait for each other."""

import platform
from collections.abc import MutableMapping
from typing import Final

import psutil

from templora_edge.host import cgroup

SPIN_COUNT: Final = "1000" if platform.machine() in ("x86_64", "AMD64") else "20000"
"""Turns of libgomp's loop in which a thread waits before it sleeps: about 20 microseconds on x86,
whose turns pause. An idle core is woken from sleep too slowly for the many small operations of a
token; a core that another process wants goes to that one for milliseconds if a thread has used up
its share with waiting (docs/results/speed.md)."""


def default_threads() -> int:
    """Number of physical cores this process may use; more threads make ggml very slow.

    Respects CPU affinity and a container's limit on CPU time.
    """
    process = psutil.Process()
    allowed = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else 0
    physical = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    return max(1, min(physical, allowed or physical, int(cgroup.cores() or physical)))


def limit_spinning(environment: MutableMapping[str, str]) -> None:
    """Have OpenMP's threads wait awake for a short time only, unless ``environment`` says how long.

    libgomp reads its variables when it is loaded, in this process with llama.cpp, and in the
    training process with torch.
    """
    if not environment.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        environment["GOMP_SPINCOUNT"] = SPIN_COUNT
