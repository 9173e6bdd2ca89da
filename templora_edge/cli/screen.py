"""A run's output: text on stdout, messages and one live line or table on stderr.

Nothing here queries the terminal, reads from it or changes its modes: a terminal that does not
answer must not stop the work, and keys typed ahead belong to the shell.
"""

import logging
import os
import sys
import time
from collections.abc import Sequence
from typing import Final, TextIO

REDRAW_SECONDS: Final = 0.2
DEFAULT_WIDTH: Final = 80
"""Columns of a terminal that does not report its width."""
DEFAULT_HEIGHT: Final = 24
"""Rows of a terminal that does not report its height."""

_CLEAR = "\x1b[J"  # from the cursor to the end of the screen
_CLEAR_LINE = "\x1b[K"
_ROOM_BELOW = "\x1bD\x1b[A"  # down, scrolling if necessary, and up again, in the same column
_SAVE, _RESTORE = "\x1b7", "\x1b8"
_DOWN = "\x1b[B"


class Screen:
    """Text on stdout and messages on stderr, which may share one terminal."""

    def __init__(self) -> None:
        terminal = sys.stderr.isatty()
        self.live = terminal and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
        """Whether a line can be redrawn."""
        self.shared = terminal and sys.stdout.isatty()
        """Whether text and messages go to the same terminal."""
        self._drawn = False
        self._drawn_at = 0.0
        self._column = 0  # the cursor's column after the text, if the terminal is shared

    def show(self, line: str, *shorter: str, force: bool = False) -> None:
        """Redraw the live line, or print it where nothing can be redrawn.

        It stands below the text's unfinished line until more text is written. A line that was
        redrawn less than `REDRAW_SECONDS` ago is left, unless ``force``.

        Args:
            line: what to show.
            shorter: what to show instead where the terminal is too narrow, from long to short; the
                last one is cut if it must be.
        """
        if not self.live:
            self.say(line)
            return
        now = time.perf_counter()
        if not force and now - self._drawn_at < REDRAW_SECONDS:
            return
        width = self._width()
        if self._column >= width:
            return  # at the margin, moving the cursor would cancel the pending wrap
        shown = _fitted((line, *shorter), width - 1)
        if self._column:
            self._put(f"{_ROOM_BELOW}{_SAVE}{_DOWN}\r{shown}{_CLEAR_LINE}{_RESTORE}")
        else:
            self._put(f"\r{shown}{_CLEAR_LINE}\r")
        self._drawn, self._drawn_at = True, now

    def show_table(self, lines: Sequence[str]) -> None:
        """Redraw ``lines``, which must be fewer than the terminal has rows, below all text.

        Draws nothing where nothing can be redrawn, or less than `REDRAW_SECONDS` after the last.
        """
        now = time.perf_counter()
        if not self.live or now - self._drawn_at < REDRAW_SECONDS:
            return
        width = self._width()
        shown = "\n".join(f"{_fitted([line], width - 1)}{_CLEAR_LINE}" for line in lines)
        self._put(f"\r{shown}{_CLEAR}\r" + f"\x1b[{len(lines) - 1}A" * (len(lines) > 1))
        self._drawn, self._drawn_at = True, now

    @property
    def rows(self) -> int:
        """The terminal's current height in rows."""
        return os.get_terminal_size(sys.stderr.fileno()).lines or DEFAULT_HEIGHT

    def say(self, message: str) -> None:
        """Print ``message`` on lines of its own, apart from the live line and from text."""
        self.clear()
        begin = "\n" if self._column else ""
        self._column = 0
        self._put(f"{begin}{message}\n")

    def clear(self) -> None:
        """Remove the live line."""
        if self._drawn:
            self._put(_CLEAR)
            self._drawn = False

    def make_way(self, text: str) -> None:
        """Prepare for ``text``, which is about to be written to stdout."""
        if not (self.shared and text):
            return
        self.clear()
        from rich.cells import cell_len

        width = self._width()
        for character in text:
            size = cell_len(character)
            wraps = character == "\n" or self._column + size > width
            self._column = size if wraps else self._column + size

    def _width(self) -> int:
        """The terminal's current width in columns."""
        return os.get_terminal_size(sys.stderr.fileno()).columns or DEFAULT_WIDTH

    def _put(self, output: str) -> None:
        try:
            sys.stderr.buffer.write(output.encode(sys.stderr.encoding, "replace"))
            sys.stderr.buffer.flush()
        except OSError:  # nobody reads the messages any more: no reason to stop
            drop(sys.stderr)


SCREEN: Final = Screen()


class _Warnings(logging.Handler):
    """Prints the library's log records."""

    def emit(self, record: logging.LogRecord) -> None:
        SCREEN.say(f"templora: {record.levelname.lower()}: {record.getMessage()}")


def show_warnings() -> None:
    """Print the warnings that the library logs from now on, one line each."""
    logger = logging.getLogger("templora_edge")
    logger.propagate = False
    logger.addHandler(_Warnings())


def drop(stream: TextIO) -> None:
    """Send what is still buffered to /dev/null; otherwise Python complains again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _fitted(lines: Sequence[str], width: int) -> str:
    """The first of ``lines`` that has at most ``width`` columns, or the last one, cut to these."""
    from rich.cells import cell_len, set_cell_size

    for line in lines:
        if cell_len(line) <= width:
            return line
    return set_cell_size(lines[-1], max(0, width - 1)) + "…"
