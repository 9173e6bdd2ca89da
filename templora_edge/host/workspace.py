"""Temporary storage for adapters: in memory if there is room, removed at the end of the run."""

import fcntl
import os
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from templora_edge.closing import Closing
from templora_edge.errors import OutputError

PREFIX: Final = "templora-"
MEMORY_BACKED: Final = Path("/dev/shm")  # noqa: S108 -- folders in it are made by mkdtemp
MARK: Final = ".templora-edge"
"""Name of the mark in a run's folder: a symbolic link, because links are created atomically."""
MARK_TARGET: Final = "temporary storage of a run of templora-edge"
FRESH_NAME: Final = re.compile(rf"{PREFIX}[a-z0-9_]{{8}}")
"""Pattern of mkdtemp's folder names."""


def places() -> list[Path]:
    """Folders for temporary storage, best first.

    Only $TMPDIR if it is set; otherwise memory-backed storage, then the system's temporary folder.
    """
    if chosen := os.environ.get("TMPDIR"):
        return [Path(chosen).absolute()]
    found = [MEMORY_BACKED] if os.access(MEMORY_BACKED, os.W_OK | os.X_OK) else []
    with suppress(FileNotFoundError):  # no folder is writable, as in a read-only container
        found.append(Path(tempfile.gettempdir()))
    return found


def default_root(needed: int = 0) -> Path:
    """The first of `places` with room for ``needed`` bytes.

    Raises:
        OutputError: no place has room.
    """
    for place in places():
        if _room(place) >= needed:
            return place
    raise OutputError(
        f"no place for an adapter of {_size(needed)} ({rooms()}); set TMPDIR to an existing folder "
        "with room, or lower --rank"
    )


def rooms() -> str:
    """Free space in each of `places`, for messages."""
    return ", ".join(map(_describe, places())) or "no temporary folder is writable"


class Workspace(Closing):
    """A private folder that is removed on exit, or by the next run if this one is killed.

    A run holds a lock on its folder, and marks the folder once it is locked. The system releases
    the lock of a dead run, so a folder with a mark and a free lock has no owner. A run that dies
    before it sets the mark leaves an empty folder.

    Args:
        root: folder to make it in; default: `default_root`.
        needed: number of bytes that will be written there.

    Raises:
        OutputError: no folder can be made, or there is no room.
    """

    def __init__(self, root: Path | None = None, *, needed: int = 0) -> None:
        for place in places() if root is None else [root]:
            _sweep(place)  # first, because it makes room
        root = root or default_root(needed)
        try:
            self.path, self._lock = _create(root)
        except OSError as error:
            raise OutputError(
                f"{root}: no temporary folder can be made ({error.strerror}); "
                "set TMPDIR to a folder with room"
            ) from error

    def close(self) -> None:
        """Remove the folder and everything in it."""
        _remove(self.path)
        os.close(self._lock)


def _room(place: Path) -> int:
    try:
        return shutil.disk_usage(place).free
    except OSError:  # no such folder
        return 0


def _describe(place: Path) -> str:
    try:
        return f"{_size(shutil.disk_usage(place).free)} free in {place}"
    except OSError as error:
        return f"{place}: {error.strerror}"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.1f} MiB"


def _create(root: Path) -> tuple[Path, int]:
    while True:
        path, lock = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root)), None
        try:
            lock = _try_lock(path)
            if lock is not None and path.exists():
                _mark(path)
                return path, lock
        except OSError:
            if lock is not None:
                os.close(lock)
            path.rmdir()
            raise
        if lock is not None:  # another run removed the folder before it was locked
            os.close(lock)


def _mark(path: Path) -> None:
    (path / MARK).symlink_to(MARK_TARGET)


def _sweep(root: Path) -> None:
    """Remove folders of killed runs."""
    for path in root.glob(f"{PREFIX}*"):
        with suppress(OSError):
            lock = _try_lock(path)
            if lock is None:
                continue
            try:
                if _is_marked(lock):
                    _remove(path)
                elif _is_fresh(path, lock):
                    path.rmdir()  # fails if the folder is not empty
            finally:
                os.close(lock)


def _is_marked(folder: int) -> bool:
    """Whether the open ``folder`` has the mark of a run."""
    try:
        return os.readlink(MARK, dir_fd=folder) == MARK_TARGET
    except OSError:  # no such file, or not a link
        return False


def _is_fresh(path: Path, folder: int) -> bool:
    """Whether ``path`` looks like a folder just made by mkdtemp."""
    mode = os.fstat(folder).st_mode & 0o777
    return mode == stat.S_IRWXU and FRESH_NAME.fullmatch(path.name) is not None


def _remove(path: Path) -> None:
    """Remove the folder and its contents, the mark last, so that any remains can be swept."""
    with suppress(OSError):
        for entry in [entry for entry in path.iterdir() if entry.name != MARK]:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink()
        (path / MARK).unlink()
        try:
            path.rmdir()
        except OSError:  # a dying training process has just written something
            _mark(path)


def _try_lock(path: Path) -> int | None:
    """A file descriptor that locks the folder ``path``; None if it is not ours or is locked.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # gone, or not a folder
        return None
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
    except BlockingIOError:
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
