"""The place of a book on a Dask worker. What is here runs there.

The client asks (`exchange`) every second or so how far the books are; so it hears of each block,
takes the job's folder back, and gives a book what it lacks. A book that nobody asks for is stopped.
"""

import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from queue import Empty, Queue
from threading import Lock
from typing import Final

from templora_edge.host import memory
from templora_edge.host.cores import default_threads
from templora_edge.host.processor import processor
from templora_edge.host.workspace import Workspace
from templora_edge.job_store.folder import is_begun
from templora_edge.shelf.attempt import Attempt
from templora_edge.shelf.book import Book
from templora_edge.shelf.model_store import ModelStore
from templora_edge.shelf.parcel import OUT, Job, Parcel, packed_job, place, series_of, unpack_job
from templora_edge.shelf.standing import Standing

TICK_SECONDS: Final = 0.25
PACKAGES: Final = ("templora-edge", "llama-cpp-python", "torch")
"""Packages on which results depend."""
LEASE_SECONDS: Final = 120.0
"""Time after which a book that its client has not asked for is stopped."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Resources, models and versions of a worker."""

    processor: str
    cores: float
    memory: float
    """Bytes."""
    models: frozenset[str]
    """Digests of the models that are there."""
    versions: tuple[str, ...]
    """Packages that results depend on, with their versions."""


@dataclass(frozen=True, slots=True)
class Task:
    """A book, and how to work on it."""

    book: Book
    digest: str
    """Digest of the model."""
    n_threads: int


@dataclass(frozen=True, slots=True)
class Letter:
    """A worker's message about its book."""

    wants: str = ""
    """``parcel`` or ``model``, if it cannot begin without; else empty."""
    standing: Standing | None = None
    warnings: tuple[str, ...] = ()
    job: Job = field(default_factory=dict)
    """The job after the block that was just finished; empty: none was."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a book's work on a worker."""

    reason: str | None
    """Why it failed; None if it did not."""
    stopped: bool = False
    """Whether its client asked to stop."""
    job: Job = field(default_factory=dict)
    results: Mapping[str, bytes] = field(default_factory=dict)
    standing: Standing = field(default_factory=Standing)
    warnings: tuple[str, ...] = ()


class Desk:
    """A book's place in the process of a worker."""

    def __init__(self) -> None:
        self.parcels: Queue[Parcel] = Queue()
        self.stops = False
        self.asked = time.monotonic()
        self._letter = Letter("parcel")
        self._lock = Lock()  # the event loop takes letters, the book's thread writes them

    def write(self, letter: Letter) -> None:
        """Replace the letter; a job that nobody has taken yet stays, if there is no newer one."""
        with self._lock:
            self._letter = replace(letter, job=letter.job or self._letter.job)

    def take(self) -> Letter:
        """The letter as it is now; its job is not there the next time."""
        with self._lock:
            letter, self._letter = self._letter, replace(self._letter, job={})
        return letter

    @property
    def is_given_up(self) -> bool:
        """Whether to stop."""
        return self.stops or time.monotonic() - self.asked > LEASE_SECONDS


_desks: dict[str, Desk] = {}
"""The books in this process by their tickets."""


def offer(declared: Mapping[str, float]) -> Offer:
    """The offer of this worker; resources ``declared`` with --resources count as they are."""
    return Offer(
        processor(),
        declared.get("CORES", default_threads()),
        declared.get("MEMORY", memory.available()),
        ModelStore().digests(),
        versions(),
    )


def versions() -> tuple[str, ...]:
    """The packages that results depend on, with their versions; builds of one version are alike."""
    return tuple(f"{name} {version(name).partition('+')[0]}" for name in PACKAGES)


def exchange(live: Collection[str], client: str) -> dict[str, Letter]:
    """Letters of the desks of ``client``; those that are not ``live`` any more are to stop."""
    found = {}
    for ticket, desk in [*_desks.items()]:
        if ticket.startswith(client):
            desk.asked = time.monotonic()
            desk.stops = desk.stops or ticket not in live
            found[ticket] = desk.take()
    return found


def deliver(ticket: str, parcel: Parcel) -> None:
    """Give a desk its files."""
    if ticket in _desks:
        _desks[ticket].write(Letter())
        _desks[ticket].parcels.put(parcel)


def deliver_model(digest: str, name: str, offset: int, part: bytes, size: int) -> None:
    """Add a part to a model that is not there yet."""
    ModelStore().add(digest, name, offset, part, size)


def work(ticket: str, task: Task) -> Outcome:
    """Work on a book: the function that Dask runs."""
    desk = _desks[ticket] = Desk()
    try:
        with Workspace(Path(tempfile.gettempdir())) as workspace:  # not in memory: it may be large
            return _work(desk, task, workspace.path)
    finally:
        del _desks[ticket]


def _work(desk: Desk, task: Task, folder: Path) -> Outcome:
    parcel: Parcel | None = None
    while parcel is None:
        if desk.is_given_up:
            return Outcome(None, stopped=True)
        try:
            parcel = desk.parcels.get(timeout=TICK_SECONDS)
        except Empty:
            continue
    book = task.book
    for name, content in parcel.inputs.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    out = folder / OUT / book.out.name
    out.parent.mkdir()
    job_folder = None if book.folder is None else out.parent / book.folder.name
    if job_folder is not None and parcel.job:
        unpack_job(parcel.job, job_folder)
    while (model := ModelStore().find(task.digest)) is None:
        desk.write(Letter("model"))
        time.sleep(TICK_SECONDS)
        if desk.is_given_up:
            return Outcome(None, stopped=True)
    arguments = book.command(
        task.n_threads or default_threads(),
        out=out,
        model=model,
        series=None if book.series is None else series_of(folder),
        place=lambda path: folder / place(book, path),
    )
    stdout = out if book.writes_stdout else None
    with Attempt(arguments, folder=job_folder, stdout=stdout) as attempt:
        _watch(desk, attempt, job_folder)
        stopped = not attempt.has_ended
        attempt.stop()
        reason = attempt.finish()
        standing, warnings = attempt.standing(), tuple(attempt.warnings)
    return Outcome(
        None if stopped else reason,
        stopped,
        packed_job(job_folder) if job_folder is not None and is_begun(job_folder) else {},
        {path.name: path.read_bytes() for path in out.parent.iterdir() if path.is_file()},
        standing,
        warnings,
    )


def _watch(desk: Desk, attempt: Attempt, folder: Path | None) -> None:
    """Write letters until the attempt has ended, or is to."""
    mark = None
    while not attempt.has_ended and not desk.is_given_up:
        standing = attempt.standing()
        job: Job = {}
        if folder is not None and is_begun(folder) and standing.mark != mark:
            if mark is not None:
                job = packed_job(folder)
            mark = standing.mark
        desk.write(Letter("", standing, tuple(attempt.warnings), job))
        time.sleep(TICK_SECONDS)
