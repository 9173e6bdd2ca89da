"""Memory of this process and the machine, in bytes."""

import ctypes
import os
import resource
import sys
from pathlib import Path

import psutil

from templora_edge.host import cgroup

M_MMAP_THRESHOLD = -3
"""Constant of glibc's malloc.h."""


def resident(pid: int | None = None) -> int:
    """Resident memory of a process, by default of this one, including mapped file pages."""
    return int(psutil.Process(pid).memory_info().rss)


def private(pid: int | None = None) -> int:
    """Private memory of a process, by default of this one: no pages of files that it maps.

    RssAnon on Linux, elsewhere the unique set size. 0 if the process has ended.
    """
    pid = os.getpid() if pid is None else pid
    try:
        if sys.platform != "linux":
            return int(psutil.Process(pid).memory_full_info().uss)
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except (OSError, psutil.Error):
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")]
    return 1024 * sum(map(int, found))  # a process that ends has none


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


def total() -> int:
    """Memory of the machine, or of the container if that may use less."""
    machine = int(psutil.virtual_memory().total)
    limit = cgroup.memory_limit()
    return machine if limit is None else min(machine, limit)


def available() -> int:
    """Memory available without swapping, on the machine and in the container."""
    free = int(psutil.virtual_memory().available)
    left = cgroup.memory_left()
    return free if left is None else min(free, left)
