"""Books worked on by the workers of a Dask scheduler.

Which of the workers that may take a book does so is Dask's choice. Here is said which ones may:
those that are free, have the memory and the cores, and, where a book was begun, its processor.
"""

import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

import dask
from distributed import Client, Future, wait

from templora_edge.closing import Closing
from templora_edge.errors import (
    ClusterError,
    InsufficientMemoryError,
    OptionError,
    TemploraError,
    listed,
)
from templora_edge.host.files import check_outputs
from templora_edge.job_store.folder import locked
from templora_edge.job_store.written import Written
from templora_edge.models.gguf_file import GgufFile
from templora_edge.shelf import desk
from templora_edge.shelf.book import FORCE, Book
from templora_edge.shelf.desk import Letter, Offer, Outcome, Task
from templora_edge.shelf.parcel import packed, take_back
from templora_edge.shelf.placement import takers, threads_of
from templora_edge.shelf.shelf import Heard, State

_logger: Final = logging.getLogger(__name__)

TICK_SECONDS: Final = 1.0
CONNECT_SECONDS: Final = 10
FAREWELL_SECONDS: Final = 30
"""Most time to wait for the last words of workers that were asked to stop."""
PART_BYTES: Final = 32 << 20
"""Size of the parts in which a model is sent."""
_CONNECT_TIMEOUT: Final = "distributed.comm.timeouts.connect"


@dataclass(slots=True)
class _Away:
    """A book that is worked on elsewhere."""

    book: Book
    ticket: str
    takers: Sequence[str]
    """Addresses of the workers of which one will have it."""
    future: "Future[Outcome]"
    lock: BinaryIO | None
    """Keeps others from the job while it is away."""
    worker: str = ""
    """Address of the worker that has it; empty: it is on its way."""
    sent: int = 0
    """Bytes of the model that were sent to the worker."""


class Cluster(Closing):
    """The workers of a scheduler.

    Args:
        address: address of the scheduler.
        need: memory of a book in bytes, with the pages of its model.

    Raises:
        ClusterError: there is no scheduler.
        OptionError: the model is in several files.
    """

    def __init__(self, address: str, need: int) -> None:
        self._address, self._need = address, need
        self._id = f"{secrets.token_hex(8)}-"
        self._away: dict[Book, _Away] = {}
        self._offers: dict[str, Offer] = {}
        self._refused: set[str] = set()
        self._digests: dict[Path, str] = {}
        self._n_tickets = 0
        self._waits = False
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # one line of ours says it
        with ExitStack() as stack:
            stack.enter_context(dask.config.set({_CONNECT_TIMEOUT: f"{CONNECT_SECONDS}s"}))
            try:
                self._client = Client(address, timeout=CONNECT_SECONDS)
            except (OSError, TimeoutError, ValueError) as error:
                raise ClusterError(
                    f"--scheduler {address}: no Dask scheduler answers ({error}); start one with "
                    "`dask scheduler`"
                ) from error
            self._stack = stack.pop_all()

    def fits(self, book: Book) -> bool:
        """Whether a worker that is free can take ``book``."""
        if self._offers and max(one.memory for one in self._offers.values()) < self._need:
            return True  # `begin` will say that it is not so
        return bool(self._takers(book))

    def begin(self, book: Book) -> None:
        """Hand out ``book``.

        Raises:
            TemploraError: its files are not there, or its job is in use.
        """
        _check(book)
        digest = self._digest(book.model)
        free = self._takers(book)
        most = max(one.memory for one in self._offers.values())
        if not free:
            raise InsufficientMemoryError(
                f"needs about {self._need / 2**30:.1f} GiB; the workers have "
                f"{most / 2**30:.1f} GiB at most; lower --ctx-size or --rank"
            )
        having = [one for one in free if digest in self._offers[one].models]
        lock = None if book.folder is None else locked(book.folder)
        self._n_tickets += 1
        ticket = f"{self._id}{self._n_tickets}"
        future = self._client.submit(
            desk.work,
            ticket,
            Task(book, digest, threads_of(book, [self._offers[one] for one in free])),
            key=f"{book.name}-{ticket}",
            workers=having or free,
            pure=False,
        )
        self._away[book] = _Away(book, ticket, having or free, future, lock)

    def news(self) -> list[Heard]:
        """News from the workers; blocks that they finished are here when this returns.

        Raises:
            ClusterError: the scheduler is gone.
        """
        begun = time.monotonic()
        try:
            known = self._client.scheduler_info(n_workers=-1)["workers"]
            self._greet(known)
            letters = self._ask([one.ticket for one in self._away.values()])
            heard = [one for away in [*self._away.values()] for one in self._hear(away, letters)]
        except (OSError, TimeoutError) as error:
            raise self._gone() from error
        if self._client.status != "running":
            raise self._gone()
        time.sleep(max(0.0, TICK_SECONDS - (time.monotonic() - begun)))
        return heard

    def close(self) -> None:
        """Have all workers stop, and take back what they have finished."""
        futures = [one.future for one in self._away.values()]
        with suppress(OSError, TimeoutError):
            if futures and self._client.status == "running":
                self._ask([])
                wait(futures, timeout=FAREWELL_SECONDS)
        for away in [*self._away.values()]:
            with suppress(OSError, TimeoutError, TemploraError):  # of one book
                if away.future.status == "finished":
                    take_back(away.book, away.future.result().job, {})
            self._forget(away)
        with suppress(OSError, TimeoutError):
            self._client.close(timeout=CONNECT_SECONDS)
        self._stack.close()

    def _takers(self, book: Book) -> list[str]:
        """Addresses of the free workers that may take ``book``."""
        busy = {one.worker for one in self._away.values()}
        n_coming = sum(not one.worker for one in self._away.values())
        if len(self._offers) - len(busy - {""}) <= n_coming:
            return []
        return takers(book, self._offers, self._need, busy=busy)

    def _greet(self, known: Mapping[str, Any]) -> None:
        """Ask new workers what they have, and forget those that are gone."""
        self._offers = {one: offer for one, offer in self._offers.items() if one in known}
        self._refused &= known.keys()
        for address, told in known.items():
            if address in self._offers or address in self._refused:
                continue
            found = self._client.run(
                desk.offer, told["resources"], workers=[address], on_error="return"
            ).get(address)
            if isinstance(found, Offer) and found.versions == desk.versions():
                self._offers[address] = found
                continue
            if found is None or isinstance(found, OSError):  # it is gone already
                continue
            has = listed(found.versions) if isinstance(found, Offer) else f"no package ({found})"
            expected = listed(desk.versions())
            _logger.warning("%s: has %s, expected %s; it gets no books", address, has, expected)
            self._refused.add(address)
        if not self._offers and not self._waits:
            start = f"dask worker {self._address} --nthreads 1"
            _logger.warning("--scheduler %s: no workers; start some: %s", self._address, start)
        self._waits = not self._offers

    def _ask(self, tickets: list[str]) -> dict[str, tuple[str, Letter]]:
        """Letters by their tickets, with the addresses of their workers."""
        workers = [*self._offers]
        if not workers:
            return {}
        found = self._client.run(
            desk.exchange, tickets, self._id, workers=workers, on_error="return"
        )
        return {
            ticket: (address, letter)
            for address, letters in found.items()
            if isinstance(letters, dict)
            for ticket, letter in letters.items()
        }

    def _hear(self, away: _Away, letters: Mapping[str, tuple[str, Letter]]) -> list[Heard]:
        """News of one book."""
        book = away.book
        if away.future.status == "finished":
            return [self._end(away, away.future.result())]
        address, letter = letters.get(away.ticket, ("", None))
        is_there = any(
            one in self._offers for one in ([away.worker] if away.worker else away.takers)
        )
        is_elsewhere = away.worker and address not in ("", away.worker)  # Dask began it again
        if is_elsewhere or not is_there or away.future.status in ("lost", "cancelled"):
            self._forget(away)
            return [Heard(book, State.WAITING, away.worker)]
        if away.future.status == "error":
            reason = str(away.future.exception())
            self._forget(away)
            return [Heard(book, State.FAILED, away.worker, reason=reason)]
        if letter is None:
            return []
        away.worker = address
        try:
            if letter.wants:
                self._give(away, letter.wants)
            if letter.job:
                take_back(book, letter.job, {})
        except TemploraError as error:
            self._forget(away)
            return [Heard(book, State.FAILED, address, reason=str(error))]
        return [Heard(book, State.RUNNING, address, letter.standing, warnings=letter.warnings)]

    def _end(self, away: _Away, outcome: Outcome) -> Heard:
        """Take back a book that ended."""
        state = State.DONE if outcome.reason is None else State.FAILED
        reason = outcome.reason or ""
        if outcome.stopped:
            state = State.WAITING
        try:
            done = outcome.results if state is State.DONE else {}
            take_back(away.book, outcome.job, done)
        except TemploraError as error:
            state, reason = State.FAILED, str(error)
        self._forget(away)
        return Heard(
            away.book, state, away.worker, outcome.standing, reason, tuple(outcome.warnings)
        )

    def _give(self, away: _Away, what: str) -> None:
        """Send a worker the files of its book, or the next part of the model."""
        if what == "parcel":
            self._client.run(
                desk.deliver,
                away.ticket,
                packed(away.book),
                workers=[away.worker],
                on_error="ignore",  # if the worker is gone, the next look at the workers says so
            )
            return
        model = away.book.model
        size = model.stat().st_size
        with model.open("rb") as file:
            file.seek(away.sent if away.sent < size else 0)
            offset, part = file.tell(), file.read(PART_BYTES)
        self._client.run(
            desk.deliver_model,
            self._digest(model),
            model.name,
            offset,
            part,
            size,
            workers=[away.worker],
            on_error="ignore",
        )
        away.sent = offset + len(part)
        offer = self._offers[away.worker]
        if away.sent == size:
            models = offer.models | {self._digest(model)}
            self._offers[away.worker] = replace(offer, models=models)

    def _digest(self, model: Path) -> str:
        if model not in self._digests:
            base = GgufFile(model)
            if len(base.paths) > 1:
                raise OptionError(
                    f"-m {model}: is in {len(base.paths)} files; with --scheduler, expected one"
                )
            self._digests[model] = base.sha256()
        return self._digests[model]

    def _forget(self, away: _Away) -> None:
        del self._away[away.book]
        if away.lock is not None and away.book.folder is not None:
            away.lock.close()
            if not away.book.is_begun:  # the folder has nothing but the lock
                with suppress(OSError):
                    Path(away.lock.name).unlink()
                    away.book.folder.rmdir()
        with suppress(OSError, TimeoutError):
            away.future.cancel()

    def _gone(self) -> ClusterError:
        return ClusterError(
            f"--scheduler {self._address}: the scheduler is gone; what came back of each book is "
            "kept, and the same command goes on with another scheduler"
        )


def _check(book: Book) -> None:
    """Check that the result of ``book`` may be written.

    Raises:
        OptionError, OutputError: it is a file of others, or cannot be written.
    """
    outs = {book.out, book.job_out or book.out}
    written = None if book.folder is None else Written(book.folder)
    own = [] if written is None else [path for path in outs if written.holds(path)]
    inputs = [("IN", path) for path in book.inputs]
    outputs = [("-O", path) for path in sorted(outs)]
    check_outputs(outputs, inputs, force=FORCE in book.arguments, own=own)
