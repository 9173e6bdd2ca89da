"""Zip archives of unknown origin: an archive is checked as a whole before any of it is used."""

import re
import zipfile
import zlib
from pathlib import Path
from typing import Final

from templora_edge.errors import DocumentError

MAX_SIZE: Final = 2 << 30
"""Largest unpacked size of a document, in bytes; art books with sound and film stay below it."""
MAX_RATIO: Final = 100
"""Largest ratio of unpacked to packed bytes. Prose shrinks to a third, dull markup to a twentieth,
and a bomb to a thousandth, which is all that deflate can do."""
SMALL: Final = 64 << 20
"""Unpacked size, in bytes, that is harmless at any ratio."""

_ERRORS: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


def open_archive(path: Path, expected: str) -> zipfile.ZipFile:
    """Check the zip archive at ``path`` and return it open.

    Args:
        expected: What it should be, for messages, such as ``an EPUB``.

    Raises:
        DocumentError: no zip archive, damaged, encrypted, or not safe to unpack.
    """
    try:
        archive = zipfile.ZipFile(path, metadata_encoding="utf-8")
    except OSError as error:
        raise DocumentError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DocumentError(f"{path}: the file names in it are not UTF-8; zip it again") from error
    except _ERRORS as error:
        found = f"not a zip archive ({error})" if path.stat().st_size else "an empty file"
        raise DocumentError(f"{path}: {found}; expected {expected}") from error
    try:
        _check_names(archive, path)
        _unpack(archive, path, expected)
    except BaseException:
        archive.close()
        raise
    return archive


def _check_names(archive: zipfile.ZipFile, path: Path) -> None:
    names = archive.namelist()
    for name in names:
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or not parts[0] or re.match("[A-Za-z]:", name):
            raise DocumentError(
                f"{path}: {name!r} leads out of the archive; expected names inside it"
            )
    if len(set(names)) < len(names):
        raise DocumentError(f"{path}: contains two files of one name; zip it again")


def _unpack(archive: zipfile.ZipFile, path: Path, expected: str) -> None:
    """Unpack everything once, so that damage is found now and not after a night's work."""
    packed = path.stat().st_size
    limit = min(MAX_SIZE, max(SMALL, MAX_RATIO * packed))
    unpacked = 0
    for member in archive.infolist():
        if member.flag_bits & 1:
            raise DocumentError(
                f"{path}: encrypted with a password; expected {expected} without one"
            )
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DocumentError(f"{path}: not compressed with deflate; zip it again")
        try:
            with archive.open(member) as file:
                while piece := file.read(1 << 20):
                    unpacked += len(piece)
                    if unpacked > limit:
                        raise DocumentError(
                            f"{path}: a zip bomb, {packed} bytes that unpack to more than {limit}; "
                            f"expected {expected}"
                        )
        except _ERRORS as error:
            raise DocumentError(f"{path}: damaged ({error}); get another copy") from error
