"""The folder of a job, and its locks."""

import fcntl
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final

from templora_edge.errors import JobError

DATABASE: Final = "job.sqlite"
"""Name of the file with a job's durable state."""


def folder_of(out: Path) -> Path:
    """The folder of the job that writes ``out``."""
    return out.parent / f"{out.name}.job"


def is_begun(folder: Path) -> bool:
    """Whether ``folder`` is that of a job that was begun."""
    return (folder / DATABASE).is_file()


def begun_folder(out: Path) -> Path:
    """The folder of the job that writes ``out``, which must be there.

    Raises:
        JobError: no job was begun for it.
    """
    folder = folder_of(out)
    if not is_begun(folder):
        raise JobError(f"{out}: no job was begun for it; expected its folder {folder}")
    return folder


def discard(folder: Path) -> None:
    """Delete the job in ``folder``, even if it is damaged or of another version.

    Raises:
        JobError: another process is working on it, or it cannot be removed.
    """
    with locked(folder):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise JobError(f"{folder}: cannot be removed ({error.strerror})") from error


def locked(folder: Path, name: str = "lock", *, wait: bool = False) -> BinaryIO:
    """Lock ``folder`` against other processes until the returned file is closed."""
    try:
        folder.mkdir(exist_ok=True)
        with ExitStack() as stack:  # closes the file if it cannot be locked
            lock = stack.enter_context((folder / name).open("ab"))
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            stack.pop_all()
    except BlockingIOError:
        raise JobError(f"{folder}: another process is working on it") from None
    except OSError as error:
        raise JobError(f"{folder}: cannot be used ({error.strerror})") from error
    return lock
