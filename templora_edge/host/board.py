"""The board that this machine is, where the system names one."""

from pathlib import Path
from typing import Final

DEVICE_TREE: Final = Path("/proc/device-tree/model")
"""Name of the board on Linux machines without firmware tables, such as a Raspberry Pi."""


def board(path: Path = DEVICE_TREE) -> str | None:
    """Name of the board, for example `Raspberry Pi 5 Model B Rev 1.0`; None if unknown.

    Args:
        path: file to read; tests use another.
    """
    try:
        return path.read_text(errors="replace").strip("\0\n ") or None
    except OSError:
        return None
