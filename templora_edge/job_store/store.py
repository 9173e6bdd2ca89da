"""The folder of a job: what it finished survives a kill.

A job is a folder beside its output. It holds an SQLite file (WAL), and the state of the training
process and of llama.cpp in files of their own. Everything that is saved is on disk when a method
returns.
"""

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

from templora_edge.closing import Closing
from templora_edge.errors import JobError
from templora_edge.job_store.folder import DATABASE, locked

_META: Final = "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"


class JobStore(Closing):
    """The open folder of a job. One process at a time works on it; any may read it.

    A subclass adds the tables of its kind of job; this class reads what all kinds have.

    Args:
        folder: folder of the job, created if it is missing.
        read_only: open without locking; the folder must exist.
        beside: open without locking, to write results and note that, perhaps beside a process that
            works on the job; the folder must exist.

    Raises:
        JobError: the folder is damaged, in use, of another kind of job, or cannot be written.
    """

    KIND: ClassVar[str] = ""
    """Kind of job that a subclass opens; any, if it is empty."""
    VERSION: ClassVar[int] = 0
    """Version of its tables."""

    def __init__(self, folder: Path, *, read_only: bool = False, beside: bool = False) -> None:
        self.folder = folder
        path = folder / DATABASE
        works = not (read_only or beside)
        try:
            with ExitStack() as stack:  # closes what was opened if a later step fails
                if works:
                    stack.enter_context(locked(folder))
                mode = "ro" if read_only else "rw" if beside else "rwc"
                uri = f"{path.absolute().as_uri()}?mode={mode}"
                self._db = sqlite3.connect(uri, uri=True, isolation_level=None)
                stack.callback(self._db.close)
                if works:
                    self._prepare()
                if self.KIND:
                    self._check_kind()
                    self._take_up(int(self.get("version", 0)), works=works, read_only=read_only)
                self._stack = stack.pop_all()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    @property
    def kind(self) -> str:
        """Kind of the job; jobs of before there were several are translations."""
        return str(self.get("kind", "translation"))

    @property
    def settings(self) -> dict[str, Any] | None:
        """Settings that the job was started with; None before it is begun."""
        found: dict[str, Any] | None = self.get("settings")
        return found

    @property
    def finished(self) -> bool:
        """Whether everything is done and written."""
        return bool(self.get("finished", False))

    @property
    def seconds(self) -> float:
        """Seconds that the runs of the job took so far."""
        return float(self.get("seconds", 0.0))

    def add_seconds(self, seconds: float) -> None:
        """Add what a run took."""
        self.put("seconds", self.seconds + seconds)

    @property
    def processors(self) -> list[dict[str, Any]]:
        """The processors that worked on the job, in order: name, and what was done before."""
        found: list[dict[str, Any]] = self.get("processors", [])
        return found

    def note_processor(self, name: str, done: int) -> None:
        """Note that the processor ``name`` works on the job from here on.

        Args:
            name: see `host.processor`: results are the same to the byte on one kind alone.
            done: how much was done before, in segments or tokens.
        """
        known = [one for one in self.processors if one["before"] < done]
        if not known or known[-1]["name"] != name:
            known.append({"name": name, "before": done})
        if known != self.processors:
            self.put("processors", known)

    @property
    def written(self) -> dict[str, list[str]]:
        """Files written so far: resolved path -> SHA-256 of each version."""
        found: dict[str, list[str]] = self.get("written", {})
        return found

    def add_written(self, written: Mapping[str, Collection[str]]) -> None:
        """Note files written, including any that is about to be put in place."""
        with self._change():
            known = self.written
            for path, digests in written.items():
                known[path] = sorted({*known.get(path, ()), *digests})
            self._set("written", known)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Wait until no other process writes the job's results, and keep others from it."""
        with locked(self.folder, "writing", wait=True):
            yield

    def get(self, key: str, default: Any = None) -> Any:
        """The job's value of ``key``."""
        try:
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        return default if row is None else json.loads(row[0])

    def put(self, key: str, value: Any) -> None:
        """Save a value with the job."""
        with self._change():
            self._set(key, value)

    def close(self) -> None:
        """Close the database and release the lock."""
        self._stack.close()

    def _create(self) -> None:
        """Make the tables of a new job, besides ``meta``."""

    def _take_up(self, version: int, *, works: bool, read_only: bool) -> None:
        """Make a job of an earlier version one of today, or show it as one.

        Raises:
            JobError: this is not possible.
        """
        del works, read_only
        if version != self.VERSION:
            raise JobError(
                f"{self.folder}: of another version of this program; start with --restart"
            )

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        with self._change():
            if not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
                self._db.execute(_META)
                self._create()
                self._set("kind", self.KIND)
                self._set("version", self.VERSION)

    def _check_kind(self) -> None:
        if self.kind != self.KIND:
            raise JobError(
                f"{self.folder}: is the folder of a {self.kind}, not of a {self.KIND}; give "
                "another name with -o"
            )

    def _set(self, key: str, value: Any) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, json.dumps(value))
        )

    @contextmanager
    def _change(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> JobError:
        name = getattr(error, "sqlite_errorname", "")  # errors of the Python module have none
        if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")):
            reason = (
                f"cannot be written ({error}); check the disk and run the command again; nothing "
                "that was finished is lost"
            )
        else:
            reason = f"not the folder of a job, or damaged ({error}); start with --restart"
        return JobError(f"{self.folder}: {reason}")
