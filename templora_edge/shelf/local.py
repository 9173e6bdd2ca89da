"""Books worked on by processes of this machine."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from templora_edge.closing import Closing
from templora_edge.errors import OptionError
from templora_edge.host import memory
from templora_edge.host.cores import default_threads
from templora_edge.shelf.attempt import Attempt
from templora_edge.shelf.book import Book
from templora_edge.shelf.shelf import Heard, State

TICK_SECONDS: Final = 0.5
"""Time between two looks at what the processes have done."""


@dataclass(frozen=True, slots=True)
class Share:
    """The share of this machine that each book gets."""

    n_books: int
    """Books that are worked on at once."""
    n_threads: int
    """Threads of each."""

    @classmethod
    def of(cls, books: Sequence[Book], need: int, shared: int) -> "Share":
        """As many books at once as cores and memory allow; the cores are divided among them.

        Args:
            books: all books of the shelf.
            need: private memory of one, in bytes.
            shared: size of the models' pages, which all share.
        """
        cores = default_threads()
        wanted = max((book.n_threads for book in books), default=0)
        n_fitting = (memory.available() - shared) // need
        n_books = max(1, min(len(books), cores // (wanted or 1), n_fitting))
        return cls(n_books, wanted or cores // n_books)


class Local(Closing):
    """Processes of this machine, one for each book."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._attempts: dict[Book, Attempt] = {}

    def fits(self, book: Book) -> bool:  # noqa: ARG002 # all books fit
        """Whether one more process may begin."""
        return len(self._attempts) < self._share.n_books

    def begin(self, book: Book) -> None:
        """Begin a process.

        Raises:
            OptionError: the result would overwrite the source.
        """
        if book.out.exists() and book.source.exists() and book.out.samefile(book.source):
            raise OptionError(f"{book.out}: is the source itself; name another folder with -O")
        arguments = book.command(
            book.threads or self._share.n_threads,
            out=book.out,
            model=book.model,
            series=book.series,
        )
        stdout = book.out if book.writes_stdout else None
        self._attempts[book] = Attempt(arguments, folder=book.folder, stdout=stdout)

    def news(self) -> list[Heard]:
        """Progress of each process."""
        time.sleep(TICK_SECONDS)
        return [self._look(book, attempt) for book, attempt in [*self._attempts.items()]]

    def close(self) -> None:
        """End all processes; what they have finished is kept."""
        for attempt in self._attempts.values():
            attempt.stop()
        for attempt in self._attempts.values():
            attempt.close()
        self._attempts.clear()

    def _look(self, book: Book, attempt: Attempt) -> Heard:
        ended = attempt.has_ended
        standing, warnings = attempt.standing(), tuple(attempt.warnings)
        worker = f"process {attempt.pid}"
        if not ended:
            return Heard(book, State.RUNNING, worker, standing, warnings=warnings)
        del self._attempts[book]
        with attempt:
            reason = attempt.finish()
        state = State.DONE if reason is None else State.FAILED
        return Heard(book, state, worker, standing, reason or "", warnings)
