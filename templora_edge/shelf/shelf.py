"""A shelf of books, worked on by a crew until all are done."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Protocol

from templora_edge.errors import JobError, TemploraError
from templora_edge.shelf.book import Book, chains_of
from templora_edge.shelf.standing import Standing, standing_of
from templora_edge.shelf.waiting import Waiting

MOST_LOSSES: Final = 3
"""Times that a book's worker may be lost: then it is the book that ends workers."""


class State(StrEnum):
    """Stages of a book."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: one book."""

    book: Book
    state: State = State.WAITING
    worker: str = ""
    """Name of the worker that has it, or had it last."""
    standing: Standing = field(default_factory=Standing)
    rate: float = 0.0
    """Tokens per second of this run."""
    reason: str = ""
    """Why it failed."""
    warnings: tuple[str, ...] = ()
    losses: int = 0
    """Workers that were lost while they worked on it."""
    before: Standing = field(default_factory=Standing)
    """Its progress when its present worker began."""
    begun: float = 0.0
    """Time at which its present worker began, in seconds of a monotonic clock."""

    def as_json(self) -> dict[str, Any]:
        """The row, ready for JSON."""
        return {
            "book": str(self.book.source),
            "out": str(self.book.out),
            "state": self.state,
            "worker": self.worker,
            "share": round(self.standing.share, 4),
            "tokens": self.standing.tokens,
            "tokens_per_second": round(self.rate, 2),
            "flagged": self.standing.flagged,
            "losses": self.losses,
            "reason": self.reason,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class Heard:
    """News of a book, from the crew that has it."""

    book: Book
    state: State
    """`RUNNING`, or how it ended; `WAITING`: its worker was lost, and it must be given again."""
    worker: str = ""
    standing: Standing | None = None
    """Its progress; None: no change."""
    reason: str = ""
    warnings: tuple[str, ...] = ()


class Crew(Protocol):
    """Processes or workers that books are handed to."""

    def fits(self, book: Book) -> bool:
        """Whether one of them is free and can work on ``book``."""

    def begin(self, book: Book) -> None:
        """Begin to work on ``book``, which fits.

        Raises:
            TemploraError: this book cannot be worked on.
        """

    def news(self) -> list[Heard]:
        """News of the books, after a moment at most.

        Raises:
            TemploraError: no book can be worked on any more.
        """


class Shelf:
    """Books, and how far each is.

    Args:
        books: the books; volumes of a series are in their order.
        crew: who works on them.
    """

    def __init__(self, books: Sequence[Book], crew: Crew) -> None:
        self.sizes = {book: book.size for book in books}
        self.rows = {book: Row(book, standing=_earlier(book)) for book in books}
        self.begun = time.monotonic()
        self._crew = crew

    def __iter__(self) -> Iterator[Row]:
        """Work on all books; each row comes whenever it has changed.

        A book that fails stops the later volumes of its series, and nothing else.

        Raises:
            TemploraError: no book can be worked on any more; what is done is kept.
        """
        waiting: Waiting[Book] = Waiting(chains_of([*self.rows]), self.sizes.__getitem__)
        chains: dict[Book, Sequence[Book]] = {}  # those that are worked on, by their first book
        while waiting or chains:
            while chain := waiting.take(self._crew.fits):
                book, rest = chain[0], chain[1:]
                if book.is_done:
                    yield self._changed(book, state=State.DONE)
                    waiting.add(rest)
                    continue
                try:
                    self._crew.begin(book)
                except TemploraError as error:
                    yield from self._fail(chain, str(error))
                    continue
                chains[book] = chain
                before, now = self.rows[book].standing, time.monotonic()
                yield self._changed(book, state=State.RUNNING, before=before, begun=now)
            for heard in self._crew.news():
                book = heard.book
                row = self._hear(heard)
                if row.state is State.RUNNING:
                    yield row
                    continue
                chain = chains.pop(book)
                if row.state is State.FAILED:
                    yield from self._fail(chain, row.reason)
                elif row.state is State.WAITING and row.losses >= MOST_LOSSES:
                    reason = f"lost {row.losses} workers, the last one {row.worker}"
                    yield from self._fail(chain, reason)
                else:
                    yield row
                    waiting.add(chain if row.state is State.WAITING else chain[1:])

    def _hear(self, heard: Heard) -> Row:
        """Take over what was heard."""
        row = self.rows[heard.book]
        standing = heard.standing or row.standing
        seconds, tokens = time.monotonic() - row.begun, standing.tokens - row.before.tokens
        return self._changed(
            heard.book,
            state=heard.state,
            worker=heard.worker or row.worker,
            standing=standing,
            rate=max(0, tokens) / seconds if seconds > 0 else 0.0,
            reason=heard.reason,
            warnings=heard.warnings or row.warnings,
            losses=row.losses + (heard.state is State.WAITING),
        )

    def _fail(self, chain: Sequence[Book], reason: str) -> Iterator[Row]:
        yield self._changed(chain[0], state=State.FAILED, reason=reason)
        for book in chain[1:]:
            why = f"{chain[0].name}, the volume before it, failed"
            yield self._changed(book, state=State.FAILED, reason=why)

    def _changed(self, book: Book, **values: Any) -> Row:
        row = self.rows[book] = replace(self.rows[book], **values)
        return row


def _earlier(book: Book) -> Standing:
    """How far earlier runs brought ``book``."""
    with suppress(JobError):  # its own command will say what is wrong with it
        if book.folder is not None:
            return standing_of(book.folder)
    return Standing()
