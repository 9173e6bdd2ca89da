"""What this process uses of the machine's memory, in bytes."""

import ctypes
import resource
import sys

import psutil

from templora_edge.host import cgroup

M_MMAP_THRESHOLD = -3
"""glibc, malloc.h."""


def resident() -> int:
    """Resident memory of this process, mapped file pages included."""
    return int(psutil.Process().memory_info().rss)


def peak_resident() -> int:
    """Highest resident memory of this process so far (getrusage, ru_maxrss)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def return_freed_blocks() -> None:
    """Have glibc give freed blocks of a megabyte or more back at once, where there is glibc.

    Its threshold grows to 32 MiB otherwise, and training's buffers of different sizes then leave
    holes that double the memory of the process (docs/log.md). Costs page faults: time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 1 << 20)


def available() -> int:
    """Memory that can be had without swapping, on the machine and in the container."""
    free = int(psutil.virtual_memory().available)
    left = cgroup.memory_left()
    return free if left is None else min(free, left)
