"""Small disks, to fill up."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def disk(folder: Path, size: str) -> Iterator[bool]:
    """Mount a disk of ``size``, for example 8m, at ``folder``; False if that is not permitted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            unmount = ["umount", "-l", str(folder)]
            subprocess.run(unmount, check=True)
