"""What the processor can do."""

from functools import cache
from pathlib import Path


@cache
def features() -> frozenset[str]:
    """Linux's names of an x86 processor's features, `avx2` for one; elsewhere none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    found = (line.partition(":")[2] for line in text.splitlines() if line.startswith("flags"))
    return frozenset(next(found, "").split())
