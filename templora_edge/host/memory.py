"""Memory of this process and the machine, in bytes."""

import ctypes
import resource
import sys

import psutil

from templora_edge.host import cgroup

M_MMAP_THRESHOLD = -3
"""Constant of glibc's malloc.h."""


def resident() -> int:
    """Resident memory of this process, including mapped file pages."""
    return int(psutil.Process().memory_info().rss)


def peak_resident() -> int:
    """Peak resident memory of this process so far (ru_maxrss of getrusage)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def return_freed_blocks() -> None:
    """Make glibc, if there is one, return freed blocks of a megabyte or more to the system at once.

    Otherwise its threshold grows to 32 MiB, and buffers of different sizes in training leave holes
    that double the memory of the process (docs/log.md). This costs time in page faults.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 1 << 20)


def available() -> int:
    """Memory available without swapping, on the machine and in the container."""
    free = int(psutil.virtual_memory().available)
    left = cgroup.memory_left()
    return free if left is None else min(free, left)
