"""The live table of a shelf, and its summary."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from templora_edge.cli.output import write
from templora_edge.cli.progress import LINE_SECONDS, duration
from templora_edge.cli.screen import SCREEN
from templora_edge.cli.summary import MOST_LINES, counted
from templora_edge.host.json_text import to_json
from templora_edge.shelf.shelf import Row, Shelf, State

if TYPE_CHECKING:
    from templora_edge.shelf.book import Book

_HEADINGS: Final = ("book", "%", "tok/s", "flags", "worker")


class ShelfTable:
    """Shows how far each book is: a table on a terminal, lines elsewhere, JSON lines on stdout.

    Args:
        shelf: the books.
        as_json: whether to write a line of JSON for each change.
    """

    def __init__(self, shelf: Shelf, *, as_json: bool) -> None:
        self._shelf, self._as_json = shelf, as_json
        self._shown_at = time.monotonic()
        self._before = self._done()
        self._told: dict[Book, dict[str, Any]] = {}
        self._warned: set[tuple[Book, str]] = set()

    def update(self, row: Row) -> None:
        """Show a row that has changed."""
        known = self._told.get(row.book)
        now = row.as_json()
        if now != known and self._as_json:
            write(to_json(now, indent=None))
        for warning in row.warnings:
            if (row.book, warning) not in self._warned:
                self._warned.add((row.book, warning))
                SCREEN.say(f"templora: warning: {row.book.name}: {warning}")
        if known is None or known["state"] != row.state:
            self._say_state(row)
        self._told[row.book] = now
        if SCREEN.live:
            SCREEN.show_table(self._lines(SCREEN.rows))
        elif time.monotonic() - self._shown_at >= LINE_SECONDS:
            self._shown_at = time.monotonic()
            SCREEN.say(self._total())

    def _say_state(self, row: Row) -> None:
        name = row.book.name
        match row.state:
            case State.RUNNING if not SCREEN.live:
                SCREEN.say(f"{name}: begun")
            case State.DONE:
                SCREEN.say(f"{name}: done{_flags(row)}")
            case State.FAILED:
                SCREEN.say(f"{name}: failed: {row.reason}")
            case State.WAITING:
                SCREEN.say(f"{name}: its worker {row.worker} is lost; it goes on with another")

    def _lines(self, height: int) -> list[str]:
        """The table: books that are worked on, then the whole."""
        running = [row for row in self._shelf.rows.values() if row.state is State.RUNNING]
        room = max(1, height - 4)
        cells = [_HEADINGS, *map(_cells, running[:room])]
        widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
        lines = [
            "  ".join(
                cell.ljust(width) if column in (0, 4) else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in cells
        ]
        if len(running) > room:
            lines.append(f"and {len(running) - room:,} more")
        return [*lines, self._total()]

    def _total(self) -> str:
        """One line on the whole."""
        rows = [*self._shelf.rows.values()]
        count = {state: sum(row.state is state for row in rows) for state in State}
        total = sum(self._shelf.sizes.values())
        share = self._done() / max(1, total)
        rate = sum(row.rate for row in rows if row.state is State.RUNNING)
        parts = [
            f"{count[State.DONE]:,} of {counted(len(rows), 'book')} done, {100 * share:.0f} %",
            *([f"{count[State.FAILED]:,} failed"] if count[State.FAILED] else []),
            *([f"{rate:.3g} tok/s"] if rate else []),
            f"ETA {duration(self._seconds_left())}",
        ]
        if not count[State.RUNNING] and count[State.WAITING]:
            parts.append("waiting for workers")
        return ", ".join(parts)

    def _done(self) -> float:
        """How much of the text is done, in bytes."""
        sizes = self._shelf.sizes
        return sum(sizes[row.book] * row.standing.share for row in self._shelf.rows.values())

    def _seconds_left(self) -> float | None:
        """Estimate for the whole: the work that is left at the rate so far, or the last book."""
        seconds, done = time.monotonic() - self._shelf.begun, self._done() - self._before
        if done <= 0:
            return None
        rows = [row for row in self._shelf.rows.values() if row.state is not State.FAILED]
        left = {row.book: self._shelf.sizes[row.book] * (1 - row.standing.share) for row in rows}
        running = sum(row.state is State.RUNNING for row in rows)
        alone = max(left.values(), default=0.0) * max(1, running)
        return max(sum(left.values()), alone) * seconds / done


def summary(rows: Sequence[Row], moves: dict["Book", str]) -> str:
    """Summary: books that are done, and those to look at.

    Args:
        rows: all books.
        moves: books that several kinds of processors worked on -> their names.
    """
    done = [row for row in rows if row.state is State.DONE]
    failed = [row for row in rows if row.state is State.FAILED]
    lines = [f"{len(done):,} of {counted(len(rows), 'book')} done"]
    flagged = sorted((row for row in done if row.standing.flagged), key=_flagged, reverse=True)
    if flagged:
        lines.append("to look at:")
        lines += [f"  {row.book.out}{_flags(row)}" for row in flagged[:MOST_LINES]]
        lines += [f"  and {len(flagged) - MOST_LINES:,} more"] if len(flagged) > MOST_LINES else []
        lines.append(f"next: templora status {flagged[0].book.out} lists its flagged segments")
    lines += [
        f"{book.name}: moved from {names}; its bytes may differ from those of one machine"
        for book, names in moves.items()
    ]
    for row in failed:  # most reasons begin with the file
        source = str(row.book.source)
        lines.append(f"failed: {source}: {row.reason.removeprefix(f'{source}: ')}")
    if failed:
        lines.append("next: run the same command again once that is mended; it goes on")
    return "\n".join(lines)


def _flagged(row: Row) -> int:
    return row.standing.flagged


def _flags(row: Row) -> str:
    flagged = row.standing.flagged
    return f", {counted(flagged, 'flagged segment')}" if flagged else ""


def _cells(row: Row) -> tuple[str, ...]:
    rate = f"{row.rate:.3g}" if row.rate else "-"
    share = f"{100 * row.standing.share:.0f}"
    return row.book.name, share, rate, str(row.standing.flagged), row.worker
