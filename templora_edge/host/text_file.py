"""Reading of text files in their common encodings and line endings."""

import codecs
from pathlib import Path


def read_text(path: Path) -> str:
    """The text of a file, decoded with `decode`.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: the file is not in a supported encoding.
    """
    return decode(path.read_bytes())


def decode(data: bytes) -> str:
    r"""Decode UTF-8, or UTF-16 with a byte order mark, and drop the mark.

    Line ends ``\r\n`` and ``\r`` become ``\n``.

    Raises:
        UnicodeDecodeError: ``data`` is in neither, or has a NUL, as UTF-16 without a mark does.
    """
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if utf_16 else "utf-8-sig"
    text = data.decode(encoding)
    if "\0" in text:
        place = data.index(b"\0")
        raise UnicodeDecodeError(encoding, data, place, place + 1, "no text has a NUL")
    return text.replace("\r\n", "\n").replace("\r", "\n")
