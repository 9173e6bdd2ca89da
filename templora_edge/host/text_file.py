"""Text files as people save them, read as one and the same text."""

import codecs
from pathlib import Path


def read_text(path: Path) -> str:
    """The text of a file; see `decode`.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is not in the encoding that it should be in.
    """
    return decode(path.read_bytes())


def decode(data: bytes) -> str:
    r"""Text in UTF-8, or in UTF-16 if its byte order mark says so, without the mark.

    Lines that end in ``\r\n`` or ``\r`` end in ``\n``.

    Raises:
        UnicodeDecodeError: it is in neither, or holds a NUL, as UTF-16 without the mark does.
    """
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if utf_16 else "utf-8-sig"
    text = data.decode(encoding)
    if "\0" in text:
        place = data.index(b"\0")
        raise UnicodeDecodeError(encoding, data, place, place + 1, "no text has a NUL")
    return text.replace("\r\n", "\n").replace("\r", "\n")
