"""Reading of text files in their encodings and line endings.

UTF-8, and UTF-16 and UTF-32 with a byte order mark or with the NULs of ASCII characters, are
recognised for certain. Any other encoding is guessed, and a warning says which.
"""

import codecs
import logging
import re
import unicodedata
from pathlib import Path
from typing import Final

_logger = logging.getLogger(__name__)

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins like that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROLS: Final = re.compile("[\0-\x08\x0e-\x19\x1c-\x1f\x7f-\x84\x86-\x9f]")
_ESCAPED: Final = re.compile("[\udc80-\udcff]")
"""Bytes that are not UTF-8, as Python's "surrogateescape" reads them."""


def read_text(path: Path) -> str:
    r"""The text of a file, decoded with `decode`, its line ends all ``\n``.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: the file is not text.
    """
    return universal_newlines(decode(path.read_bytes(), str(path)))


def universal_newlines(text: str) -> str:
    r"""``text`` with ``\n`` for each line end ``\r\n`` or ``\r``."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decode(data: bytes, name: str, language: str | None = None) -> str:
    """Decode ``data`` and drop a byte order mark; a guess of the encoding is a warning.

    Args:
        name: of the file, for the warning.
        language: BCP 47 tag of the text, if known; it decides between encodings that are alike.

    Raises:
        UnicodeDecodeError: ``data`` is not text.
    """
    for bom, encoding in _BOMS:
        if data.startswith(bom) and (encoding != "utf-8" or is_utf_8(data)):
            text = data[len(bom) :].decode(encoding)
            if "\0" in text:
                raise _not_text(data, data.index(0))
            return text
    if b"\0" in data:
        return _wide(data)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _guessed(data.removeprefix(codecs.BOM_UTF8), name, language)


def is_utf_8(data: bytes) -> bool:
    """Whether ``data`` is valid UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _not_text(data: bytes, place: int) -> UnicodeDecodeError:
    return UnicodeDecodeError("utf-8", data, place, place + 1, "not text")


def _wide(data: bytes) -> str:
    """Decode UTF-16 or UTF-32 without a mark, in which ASCII characters have NULs."""
    n_nuls = data.count(0)
    others = data.replace(b"\0", b"").decode("utf-8", "surrogateescape")
    stray = 4 * n_nuls < len(data) and not any(map(_is_no_text, set(others)))
    best, most = "", 0
    for _, encoding in () if stray else _BOMS[1:]:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        n_ascii = sum(c.isascii() for c in text)
        if n_ascii > most and not any(_is_no_text(c) for c in set(text)):
            best, most = text, n_ascii
    if not best:
        raise _not_text(data, data.index(0))
    return best


def _is_no_text(character: str) -> bool:
    category = unicodedata.category(character)
    return category in {"Cn", "Co", "Cs"} or bool(_CONTROLS.match(character))


def _guessed(data: bytes, name: str, language: str | None) -> str:
    text = data.decode("utf-8", "surrogateescape")
    stray = _ESCAPED.findall(text)
    if sum(not c.isascii() for c in text) > 4 * len(stray):
        _logger.warning("%s: %d bytes are not UTF-8; read as Windows-1252", name, len(stray))
        return _ESCAPED.sub(_windows_1252, text)
    # few files need it, and every command would wait for it
    from templora_edge.host.encoding_guess import guessed_encoding

    encoding = guessed_encoding(data, language)
    if encoding is None or 500 * len(_CONTROLS.findall(data.decode(encoding))) > len(data):
        raise _not_text(data, data.index(ord(stray[0]) - 0xDC00))
    _logger.warning(
        "%s: not UTF-8; read as %s, which is a guess; convert it with iconv if that is wrong",
        name,
        encoding,
    )
    return data.decode(encoding)


def _windows_1252(match: re.Match[str]) -> str:
    return bytes([ord(match.group()) - 0xDC00]).decode("cp1252", "replace")
