"""What this process uses of the machine's memory, in bytes."""

import resource
import sys

import psutil


def resident() -> int:
    """Resident memory of this process, mapped file pages included."""
    return int(psutil.Process().memory_info().rss)


def peak_resident() -> int:
    """Highest resident memory of this process so far (getrusage, ru_maxrss)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def available() -> int:
    """Memory that can be had without swapping."""
    return int(psutil.virtual_memory().available)
