"""Writing files completely or not at all, and never over files that must be kept."""

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from templora_edge.errors import OptionError, OutputError

Files = Iterable[tuple[str, Path | None]]
"""(flag or other name for messages, path) each; a path of None is a flag not given."""

WRITE_ERRORS: Final = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EPIPE)
)
"""Errors of `write`, which carry no file name."""
MAX_LINKS: Final = 40
"""Most links to follow, as in Linux."""


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of the file ``path``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_outputs(
    outputs: Files, inputs: Files, *, force: bool = False, own: Collection[Path] = ()
) -> None:
    """Check before long work that all results can be written without losing other files.

    Every command passes its files through here. Devices, pipes and open files such as /dev/stdout
    may be given for any output, more than once.

    Args:
        outputs: files to write.
        inputs: files to read. A folder stands for its files, except GGUFs, which are listed on
            their own.
        force: whether existing files may be overwritten.
        own: outputs that may always be overwritten, because an earlier run wrote them.

    Raises:
        OptionError: an output is also an input or another output, perhaps through links.
        OutputError: an output exists, or cannot be written.
    """
    taken = [(flag, file) for flag, path in inputs if path is not None for file in _files_of(path)]
    for flag, path in outputs:
        if path is None:
            continue
        check_writable(path, flag)
        if _is_stream(path):
            continue
        for other, file in taken:
            if same_file(path, file):
                raise OptionError(
                    f"{flag} {path}: is the same file as {other} {file}; give another name"
                )
        taken.append((flag, path))
        if path.is_file() and not force and path not in own:
            raise OutputError(
                f"{flag} {path}: exists; give another name, or overwrite it with --force"
            )


def check_writable(path: Path, flag: str) -> None:
    """Check before long work that ``path`` can be written in the end.

    Raises:
        OutputError: ``path`` is a directory, or its folder is missing or not writable.
    """
    with _blaming(path, flag):
        descriptor = _descriptor(path)
        if descriptor is not None:
            if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                raise OutputError(f"{flag}: {path} is open for reading only")
            return
        path = Path(os.path.realpath(path))
        if path.is_dir():
            raise OutputError(f"{flag}: {path} is a directory; expected a file name")
        if not path.parent.is_dir():
            raise OutputError(f"{flag}: {path.parent} is not a directory; create it first")
        if path.exists() and not path.is_file():  # a device or pipe
            with path.open("ab"):
                pass
        else:
            with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", dir=path.parent):
                pass


def same_file(one: Path, other: Path) -> bool:
    """Whether both paths lead to one file, perhaps through links, or would if it existed."""
    try:
        return one.samefile(other)
    except OSError:  # one does not exist yet
        return os.path.realpath(one) == os.path.realpath(other)


@contextmanager
def replacing(path: Path, flag: str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, renamed over it on success and removed otherwise.

    The old file stays untouched until the new one is complete and on disk; its mode and, if the
    system allows it, its owner are kept. A device or pipe is yielded itself; an open file
    (/dev/stdout, /dev/fd/63) gets the whole result at once, at its current position.

    Raises:
        OutputError: the file could not be written. Other errors in the `with` block pass.
    """
    check_writable(path, flag)
    descriptor = _descriptor(path)
    target = Path(os.path.realpath(path))  # a link stays a link; its target is replaced
    if descriptor is None and target.exists() and not target.is_file():
        with _blaming(path, flag, of=target):
            yield target
        return
    with _blaming(path, flag):
        folder = target.parent if descriptor is None else None
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=folder)
        os.close(handle)
    temporary = Path(name)
    try:
        with _blaming(path, flag, of=temporary):
            yield temporary
        with _blaming(path, flag):
            if descriptor is None:
                _put(temporary, target)
            else:
                _append(temporary, descriptor)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield ``.NAME`` beside ``path``, renamed over it once it is complete and on disk.

    For the files of a folder that one process has for itself: what a kill leaves is written over
    by the next attempt.
    """
    temporary = path.with_name(f".{path.name}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _put(temporary: Path, path: Path) -> None:
    """Rename ``temporary`` over ``path``; it is on disk when this returns."""
    with temporary.open("rb") as file:
        temporary.chmod(_take_owner(temporary, path))
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Flush the names in ``folder`` to disk, if the file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL, errno.ENOTSUP):
            raise


def _take_owner(temporary: Path, path: Path) -> int:
    """Give ``temporary`` to the owner of ``path``, and return the mode that it should have."""
    try:
        before = path.stat()
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask
    for user, group in ((-1, before.st_gid), (before.st_uid, -1)):
        with suppress(OSError):  # only root may give files away
            os.chown(temporary, user, group)
    return stat.S_IMODE(before.st_mode)


def _append(temporary: Path, descriptor: int) -> None:
    with temporary.open("rb") as file, os.fdopen(os.dup(descriptor), "wb") as out:
        shutil.copyfileobj(file, out)


@contextmanager
def _blaming(path: Path, flag: str, of: Path | None = None) -> Iterator[None]:
    """Turn an OSError, or with ``of`` only one of writing that, into an OutputError on ``path``."""
    try:
        yield
    except OSError as error:
        if of is None or _is_of_writing(of, error):
            reason = error.strerror or error
            raise OutputError(f"{flag}: {path} cannot be written ({reason})") from error
        raise


def _is_of_writing(path: Path, error: OSError) -> bool:
    """Whether ``error`` names ``path`` or, like errors of `write`, no file at all."""
    names = {str(name) for name in (error.filename, error.filename2) if name is not None}
    if names:
        return str(path) in names
    # numpy's error for a short write has no number and is a plain OSError
    return error.errno in WRITE_ERRORS or (error.errno is None and type(error) is OSError)


def _files_of(path: Path) -> list[Path]:
    try:
        return [path, *(file for file in path.iterdir() if file.suffix != ".gguf")]
    except OSError:  # not a folder, or unreadable
        return [path]


def _is_stream(path: Path) -> bool:
    return _descriptor(path) is not None or (path.exists() and not path.is_file())


def _descriptor(path: Path) -> int | None:
    """Descriptor of the open file that ``path`` stands for, as /dev/stdout and /dev/fd/63 do."""
    descriptors = os.path.realpath("/dev/fd")
    for _ in range(MAX_LINKS):
        if path.name.isdecimal() and os.path.realpath(path.parent) == descriptors:
            return int(path.name)
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None
