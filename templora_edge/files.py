"""Write a file whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from templora_edge.errors import OutputError


def check_writable(path: Path, flag: str) -> None:
    """Find out before long work whether ``path`` can be written at its end.

    Raises:
        OutputError: it is a directory, or its folder is missing or not writable.
    """
    path = path.resolve()
    if path.is_dir():
        raise OutputError(f"{flag}: {path} is a directory; expected a file name")
    if not path.parent.is_dir():
        raise OutputError(f"{flag}: {path.parent} is not a directory; create it first")
    try:
        if path.exists() and not path.is_file():  # a device or pipe
            with path.open("ab"):
                pass
        else:
            with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", dir=path.parent):
                pass
    except OSError as error:
        raise OutputError(f"{flag}: {path} cannot be written ({error.strerror})") from error


@contextmanager
def replacing(path: Path, flag: str) -> Iterator[Path]:
    """Yield a path to write beside ``path``, renamed over it on success and removed otherwise.

    What was at ``path`` stays untouched until the new file is whole and on disk. A device or pipe
    is yielded as it is.

    Raises:
        OutputError: the file could not be written.
    """
    check_writable(path, flag)
    path = path.resolve()  # a link stays a link; what it leads to is replaced
    if path.exists() and not path.is_file():
        yield path
        return
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise OutputError(f"{flag}: {path} cannot be written ({error.strerror})") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()
