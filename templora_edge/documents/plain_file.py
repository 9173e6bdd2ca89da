"""Text files: line ends and the mark of UTF-8 are kept, other encodings become UTF-8."""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from templora_edge.errors import DocumentError
from templora_edge.host.text_file import decode


@dataclass(frozen=True, slots=True)
class PlainFile:
    """The lines of a text file and the form they are stored in."""

    lines: tuple[str, ...]
    """Without their ends, except that some keep a carriage return where line ends are mixed."""
    has_bom: bool
    newline: str
    ends_with_newline: bool

    @classmethod
    def read(cls, path: Path, language: str | None = None) -> Self:
        """Read the file at ``path``; for ``language``, see `decode`.

        Raises:
            DocumentError: It cannot be read, is not text, or is blank.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DocumentError(f"{path}: cannot be read ({error.strerror})") from error
        try:
            text = decode(data, str(path), language)
        except UnicodeDecodeError as error:
            raise DocumentError(
                f"{path}: not text (byte {data[error.start]:#04x} at {error.start}); expected UTF-8"
            ) from error
        has_bom = data.startswith(codecs.BOM_UTF8)
        if not text.strip():
            raise DocumentError(f"{path}: empty; expected some text to translate")
        newline = _newline(text)
        lines = text.split(newline)
        if ended := not lines[-1]:
            lines.pop()
        return cls(tuple(lines), has_bom, newline, ended)

    def write(self, path: Path, lines: Sequence[str]) -> None:
        """Write ``lines`` to ``path`` in the form of this file."""
        text = self.newline.join(lines) + (self.newline if self.ends_with_newline else "")
        path.write_bytes((codecs.BOM_UTF8 if self.has_bom else b"") + text.encode())


def _newline(text: str) -> str:
    """The line end of ``text``; where several are mixed, the likeliest."""
    if "\n" not in text:
        return "\r" if "\r" in text else "\n"
    return "\r\n" if text.count("\r\n") == text.count("\n") else "\n"
