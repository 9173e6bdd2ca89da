"""Model and features of this machine's processor."""

import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

_ARM_KEYS: Final = ("CPU implementer", "CPU variant", "CPU part")
_X86_KEYS: Final = ("model name", "cpu family", "model")
"""The name alone may stand for several generations, in virtual machines above all."""


def processor() -> str:
    """Architecture and model of the processor.

    Libraries of linear algebra choose their instructions and blocks by it, and with them the order
    of sums; so the same work gives the same bytes on one model, and perhaps not on another.
    """
    return f"{platform.machine()} {_model() or platform.processor()}".strip()


@cache
def features() -> frozenset[str]:
    """Linux's names of an x86 processor's features, `avx2` for one; elsewhere none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    found = (line.partition(":")[2] for line in text.splitlines() if line.startswith("flags"))
    return frozenset(next(found, "").split())


def _model() -> str:
    try:
        if sys.platform == "darwin":
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(
                command, capture_output=True, text=True, check=True
            ).stdout.strip()
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, subprocess.SubprocessError):
        return ""
    entries = [(key.strip(), value.strip()) for key, _, value in (x.partition(":") for x in lines)]
    # cores may be of several kinds, and each has an entry
    words = dict.fromkeys(value for key, value in entries if key in (*_X86_KEYS, *_ARM_KEYS))
    return " ".join(words)
