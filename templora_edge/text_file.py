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

    Lines that end in ``\r\n`` end in ``\n``.

    Raises:
        UnicodeDecodeError: it is in neither.
    """
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if utf_16 else "utf-8-sig").replace("\r\n", "\n")
