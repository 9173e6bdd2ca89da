"""The file of a text that grows."""

import os
from pathlib import Path

from templora_edge.closing import Closing
from templora_edge.errors import OutputError


class TextFile(Closing):
    """The file ``path``, which holds the text so far whenever a method returns.

    What `end` wrote, and what stood in the file before, goes when more is appended.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, text: str) -> None:
        """Open ``path`` and have it hold ``text``, or that and an end."""
        self._path = path
        self._length = 0  # of the text, in bytes
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise self._failed(error) from error
        try:
            with os.fdopen(os.dup(self._file), "rb") as file:
                before = file.read()
            expected = text.encode()
            if before.startswith(expected):
                self._length = len(expected)
            else:
                self._length = _common(before, expected)
                self._append(expected[self._length :])
        except BaseException:
            self.close()
            raise

    def append(self, text: str) -> None:
        """Append ``text``."""
        if text:
            self._append(text.encode())

    def end(self, text: str) -> None:
        """Write ``text`` after the text, of which it is no part; all of it is then on disk."""
        length = self._length
        self.append(text)
        self._length = length
        try:
            os.fsync(self._file)
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _append(self, data: bytes) -> None:
        try:
            os.ftruncate(self._file, self._length)
            while data:
                n = os.pwrite(self._file, data, self._length)
                self._length += n
                data = data[n:]
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(
            f"-o {self._path}: cannot be written ({error.strerror}); run the command again when "
            "that is mended; nothing that was finished is lost"
        )


def _common(one: bytes, other: bytes) -> int:
    """Length of the longest common beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))
