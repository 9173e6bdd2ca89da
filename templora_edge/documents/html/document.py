"""Files of HTML and XHTML by themselves."""

import codecs
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from templora_edge.documents.document import Document
from templora_edge.documents.html.fragment import HtmlFragment
from templora_edge.errors import DocumentError
from templora_edge.host.text_file import decode, is_utf_8

MAX_SIZE: Final = 32 << 20
"""Largest file, in bytes; its tree takes ten times as many."""

_BOMS: Final = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_NAMED: Final = re.compile(
    rb"""<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)|<meta[^>]*?charset\s*=\s*["']?\s*([\w.:-]+)""",
    re.IGNORECASE,
)
_HEAD: Final = 4096
"""Bytes at the beginning among which an encoding is named."""
_WIDER: Final = {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030",
    "shift_jis": "cp932", "euc_kr": "cp949", "iso8859-9": "cp1254", "tis-620": "cp874"}  # fmt: skip
"""Encodings that browsers read as a larger one (WHATWG, Encoding Standard, section 4.2)."""


class HtmlDocument(Document):
    """An .html or .xhtml file.

    Args:
        language: BCP 47 tag of its text, if known.

    Raises:
        DocumentError: It cannot be read, is not in the encoding it names, is too large, nested too
            deeply, or without text.
    """

    def __init__(self, path: Path, language: str | None = None) -> None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DocumentError(f"{path}: cannot be read ({error.strerror})") from error
        if len(data) > MAX_SIZE:
            raise DocumentError(f"{path}: more than {MAX_SIZE >> 20} MiB; split it")
        self._bom, self._encoding, text = _decoded(data, str(path), language)
        self._fragment = HtmlFragment(text, str(path), language or "")
        if not self._fragment.paragraphs:
            raise DocumentError(f"{path}: nothing to translate; expected HTML with text")

    @property
    def paragraphs(self) -> Sequence[str]:
        """Title, texts and attributes; see `Document.paragraphs`."""
        return self._fragment.paragraphs

    @property
    def skipped(self) -> Counter[str]:
        """Code and other languages; see `Document.skipped`."""
        return self._fragment.skipped

    def write(
        self, path: Path, translations: Sequence[str], *, language: str, bilingual: bool = False
    ) -> None:
        """Write the file in the encoding it was in; see `Document.write`."""
        text = self._fragment.translated(translations, language=language, bilingual=bilingual)
        path.write_bytes(self._bom + text.encode(self._encoding, "xmlcharrefreplace"))


def _decoded(data: bytes, name: str, language: str | None) -> tuple[bytes, str, str]:
    """Byte order mark, encoding and text of ``data``, as browsers take them."""
    bom = next((bom for bom in _BOMS if data.startswith(bom)), b"")
    named = _NAMED.search(data[:_HEAD])
    encoding = _BOMS.get(bom) or _encoding((named[1] or named[2]).decode() if named else "")
    if not encoding:
        try:
            text = decode(data, name, language)
        except UnicodeDecodeError as error:
            raise DocumentError(
                f"{name}: neither UTF-8 nor in an encoding that it names; convert it with iconv"
            ) from error
        # a mark says what nothing in the file does
        return b"" if data.isascii() or is_utf_8(data) else codecs.BOM_UTF8, "utf-8", text
    try:
        return bom, encoding, data[len(bom) :].decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "cp1252":  # five of its bytes mean nothing
            return bom, encoding, data[len(bom) :].decode(encoding, "ignore")
        raise DocumentError(
            f"{name}: not in the encoding that it names, {encoding} (byte {data[error.start]:#04x} "
            f"at {error.start}); convert it with iconv"
        ) from error


def _encoding(label: str) -> str:
    """Python's name of what browsers take ``label`` for; empty if they do not know it."""
    try:
        name = codecs.lookup(label).name if label else ""
    except LookupError:
        return ""
    if name.startswith("utf-16"):  # it would not have been read so far
        return "utf-8"
    return _WIDER.get(name, name)
