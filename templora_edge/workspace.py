"""Temporary storage for adapters: in memory where there is any, gone when the run is over."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from templora_edge.closing import Closing
from templora_edge.errors import OutputError

PREFIX: Final = "templora-"
MEMORY_BACKED: Final = Path("/dev/shm")  # noqa: S108 -- folders in it are made by mkdtemp


def default_root() -> Path:
    """Memory-backed storage where the system has it, the temporary folder elsewhere.

    $TMPDIR, when set, wins.
    """
    if "TMPDIR" not in os.environ and os.access(MEMORY_BACKED, os.W_OK | os.X_OK):
        return MEMORY_BACKED
    return Path(tempfile.gettempdir())


class Workspace(Closing):
    """A private folder that is removed on exit, or by the next run if this one was killed.

    A run holds a lock on its folder as long as it lives; the system drops the lock of a dead one,
    so a folder whose lock is free has no owner.

    Raises:
        OutputError: no folder can be made.
    """

    def __init__(self, root: Path | None = None) -> None:
        root = root or default_root()
        _sweep(root)
        try:
            self.path, self._lock = _create(root)
        except OSError as error:
            raise OutputError(
                f"{root}: no temporary folder can be made ({error.strerror}); "
                "set TMPDIR to a folder with room"
            ) from error

    def close(self) -> None:
        """Remove the folder and all in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _create(root: Path) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
        lock = _try_lock(path)
        if lock is not None and path.exists():
            return path, lock
        if lock is not None:  # another run swept it away before it was locked
            os.close(lock)


def _sweep(root: Path) -> None:
    """Remove the folders of runs that were killed."""
    for path in root.glob(f"{PREFIX}*"):
        lock = _try_lock(path)
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _try_lock(path: Path) -> int | None:
    """A file descriptor that holds the lock of folder ``path``; None if another holds it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # gone, not a folder, or not ours
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
