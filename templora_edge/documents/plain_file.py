"""Files of lines in UTF-8, whose byte order mark and line ends are kept."""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from templora_edge.errors import DocumentError


@dataclass(frozen=True, slots=True)
class PlainFile:
    """The lines of a file, without their ends, and its form."""

    lines: tuple[str, ...]
    """Where line ends are mixed, some end in a carriage return."""
    has_bom: bool
    newline: str
    ends_with_newline: bool

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read ``path``.

        Raises:
            DocumentError: it cannot be read, is not UTF-8, or has nothing but space in it.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DocumentError(f"{path}: cannot be read ({error.strerror})") from error
        has_bom = data.startswith(codecs.BOM_UTF8)
        try:
            text = data.decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise DocumentError(
                f"{path}: not UTF-8 (byte {data[error.start]:#04x} at {error.start}); convert it "
                "with iconv"
            ) from error
        if "\0" in text:  # UTF-16 without its mark, or no text at all
            raise DocumentError(
                f"{path}: not text (byte 0x00 at {data.index(0)}); expected UTF-8, convert it with "
                "iconv"
            )
        if not text.strip():
            raise DocumentError(f"{path}: empty; expected some text to translate")
        newline = _newline(text)
        lines = text.split(newline)
        if ended := not lines[-1]:
            lines.pop()
        return cls(tuple(lines), has_bom, newline, ended)

    def write(self, path: Path, lines: Sequence[str]) -> None:
        """Write other ``lines`` in the same form to ``path``."""
        text = self.newline.join(lines) + (self.newline if self.ends_with_newline else "")
        path.write_bytes((codecs.BOM_UTF8 if self.has_bom else b"") + text.encode())


def _newline(text: str) -> str:
    """What ends every line of ``text``, or else most likely was meant to."""
    if "\n" not in text:
        return "\r" if "\r" in text else "\n"
    return "\r\n" if text.count("\r\n") == text.count("\n") else "\n"
