"""A terminal emulator that displays what programs write, and answers no queries."""

import re
import unicodedata
from typing import Final

_CONTROL: Final = re.compile(r"\x1b\[([\d;]*)([A-Za-z])|\x1b([78D])|([\r\n\b])|([^\x00-\x1f\x7f])")


class Emulator:
    """A grid of characters with a scrollback.

    Any movement of the cursor, and saving and restoring it, forgets that the next character was to
    wrap: terminals differ there, and this is the least they do.

    Raises:
        ValueError: a control sequence that is not known here; a query, perhaps.
    """

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.scrollback: list[str] = []
        self._grid = [[" "] * columns for _ in range(rows)]
        self._x = self._y = 0
        self._saved = (0, 0)

    def feed(self, output: str) -> None:
        """Display ``output``."""
        at = 0
        while at < len(output):
            found = _CONTROL.match(output, at)
            if found is None:
                raise ValueError(f"unknown control sequence {output[at : at + 12]!r}")
            at = found.end()
            argument, final, short, control, character = found.groups()
            if character:
                self._print(character)
            elif control or short:
                self._move(control or short)
            else:
                self._sequence(int(argument or 0), final)

    @property
    def lines(self) -> list[str]:
        """All lines on the screen and scrolled off it, up to the last one that is not empty."""
        rows = [*self.scrollback, *("".join(row).rstrip() for row in self._grid)]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def _print(self, character: str) -> None:
        width = 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if self._x + width > self.columns:
            self._x = 0
            self._down()
        self._grid[self._y][self._x : self._x + width] = [character, *[""] * (width - 1)]
        self._x += width

    def _down(self) -> None:
        if self._y + 1 < self.rows:
            self._y += 1
        else:
            self.scrollback.append("".join(self._grid.pop(0)).rstrip())
            self._grid.append([" "] * self.columns)

    def _move(self, control: str) -> None:
        self._x = min(self._x, self.columns - 1)
        match control:
            case "\r":
                self._x = 0
            case "\n":  # the kernel puts a \r before it
                self._down()
            case "\b":
                self._x = max(0, self._x - 1)
            case "7":
                self._saved = self._x, self._y
            case "8":
                self._x, self._y = self._saved
            case _:
                self._down()

    def _sequence(self, argument: int, final: str) -> None:
        self._x = min(self._x, self.columns - 1)
        match final, argument:
            case "A", _:
                self._y = max(0, self._y - max(1, argument))
            case "B", _:
                self._y = min(self.rows - 1, self._y + max(1, argument))
            case (("K" | "J"), 0):
                self._grid[self._y][self._x :] = [" "] * (self.columns - self._x)
                if final == "J":
                    for row in self._grid[self._y + 1 :]:
                        row[:] = [" "] * self.columns
            case _:
                raise ValueError(f"unknown control sequence ESC[{argument or ''}{final}")
