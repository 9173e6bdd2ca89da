"""Terminals for tests: programs run in them, and what they draw is read."""

import fcntl
import os
import re
import select
import struct
import subprocess
import termios

ESCAPE = re.compile(r"\x1b\[[\d;]*[A-Za-z]|\x1b.")


class Terminal:
    """A terminal that displays its input and never answers."""

    def __init__(self, columns: int, rows: int = 24) -> None:
        self._ours, self.file = os.openpty()
        self.resize(columns, rows)
        self.output = b""

    def resize(self, columns: int, rows: int = 24) -> None:
        fcntl.ioctl(self.file, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def typed(self) -> bytes:
        """Typed keys that nobody has read yet."""
        return os.read(self.file, 1000) if select.select([self.file], [], [], 0)[0] else b""

    def read(self, seconds: float = 0.0) -> bool:
        """Take what has been written; return False if there is nothing."""
        if not select.select([self._ours], [], [], seconds)[0]:
            return False
        self.output += os.read(self._ours, 65536)
        return True

    def read_until(self, wanted: bytes) -> None:
        while wanted not in self.output:
            assert self.read(60), self.output

    def finish(self, process: "subprocess.Popen[bytes]") -> str:
        """Wait for the end of ``process`` while reading; return the whole output."""
        while process.poll() is None:
            self.read(0.1)
        while self.read():
            pass
        assert process.returncode == 0, self.output
        return self.output.decode()

    def close(self) -> None:
        os.close(self._ours)
        os.close(self.file)


def start(
    command: list[str], *, stdin: int = subprocess.DEVNULL, stdout: int, stderr: int, **env: str
) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"TERM": "xterm-256color"} | env
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, env=environment)


def live_lines(output: str) -> list[str]:
    """Everything drawn or printed, as one line without control sequences."""
    return [line for part in re.split(r"[\r\n]", output) if (line := ESCAPE.sub("", part))]
