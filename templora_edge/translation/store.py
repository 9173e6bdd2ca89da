"""Durable state of a long translation: every finished segment outlives a kill.

A job is a folder beside its output: an SQLite file (WAL) with the settings, the segments and how
far training is, and the state of the training process after the last learned block.
"""

import fcntl
import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from templora_edge.closing import Closing
from templora_edge.errors import JobError

VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE segment (
    id INTEGER PRIMARY KEY,      -- in reading order
    paragraph INTEGER NOT NULL,
    source TEXT NOT NULL,
    translation TEXT,            -- NULL until it is done
    flags TEXT NOT NULL DEFAULT '[]',
    attempts INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0
);
"""


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment and what became of it."""

    id: int
    paragraph: int
    source: str
    translation: str | None
    flags: tuple[str, ...]
    attempts: int
    tokens: int
    """Length of the translation, by the model's tokenizer."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Learned:
    """How far training is."""

    state: str | None = None
    """File of the training process's state in the folder of the job; None before any training."""
    references: int = 0
    """Blocks of the references that are learned."""
    segments: int = 0
    """Segments at the beginning of the document that are in learned blocks."""
    blocks: int = 0


class Store(Closing):
    """The open folder of a job. Only one process may change it at a time; any may read it.

    Args:
        read_only: only look.

    Raises:
        JobError: the folder is damaged, in use, or cannot be written.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder = folder
        path = folder / "job.sqlite"
        try:
            with ExitStack() as stack:  # undoes what was opened if a later step fails
                if not read_only:
                    stack.enter_context(_locked(folder))
                mode = "ro" if read_only else "rwc"
                uri = f"{path.absolute().as_uri()}?mode={mode}"
                self._db = sqlite3.connect(uri, uri=True, isolation_level=None)
                stack.callback(self._db.close)
                if not read_only:
                    self._prepare()
                if self.get("version") != VERSION:
                    raise JobError(
                        f"{folder}: of another version of this program; start with --restart"
                    )
                self._stack = stack.pop_all()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    @property
    def settings(self) -> dict[str, Any] | None:
        """What it was started with; None if it was not started yet."""
        found: dict[str, Any] | None = self.get("settings")
        return found

    @property
    def started(self) -> bool:
        """Whether there is anything that would be lost."""
        row = self._db.execute("SELECT 1 FROM segment WHERE translation IS NOT NULL").fetchone()
        return row is not None or self.learned != Learned()

    def begin(self, settings: Mapping[str, Any], segments: Sequence[tuple[int, str]]) -> None:
        """Write the settings and all segments, (paragraph, source) each, at once."""
        with self._change():
            self._db.execute("DELETE FROM segment")
            self._db.executemany("INSERT INTO segment (paragraph, source) VALUES (?, ?)", segments)
            self._set("settings", dict(settings))

    def segments(self) -> list[SegmentRow]:
        """All of them, in reading order."""
        rows = self._db.execute(
            "SELECT id, paragraph, source, translation, flags, attempts, tokens, seconds "
            "FROM segment ORDER BY id"
        )
        return [
            SegmentRow(number, paragraph, source, translation, tuple(json.loads(flags)), *others)
            for number, paragraph, source, translation, flags, *others in rows
        ]

    def finish_segment(self, row: SegmentRow) -> None:
        """Keep the translation of a segment, on disk when this returns."""
        with self._change():
            self._db.execute(
                "UPDATE segment SET translation = ?, flags = ?, attempts = ?, tokens = ?, "
                "seconds = ? WHERE id = ?",
                (row.translation, json.dumps(row.flags), row.attempts, row.tokens, row.seconds,
                 row.id),
            )  # fmt: skip

    @property
    def learned(self) -> Learned:
        """How far training is."""
        return Learned(**self.get("learned", asdict(Learned())))

    def set_learned(self, learned: Learned) -> None:
        """Note how far training is, and remove the state before; the new one is on disk already."""
        before = self.learned.state
        with self._change():
            self._set("learned", asdict(learned))
        if before not in (None, learned.state):
            with suppress(OSError):
                (self.folder / str(before)).unlink()

    @property
    def written(self) -> dict[str, list[str]]:
        """What it has written so far: resolved path -> SHA-256 of every content."""
        found: dict[str, list[str]] = self.get("written", {})
        return found

    def set_written(self, written: Mapping[str, Sequence[str]]) -> None:
        """Note what it has written; what is about to be, too, before it is there."""
        self.put("written", dict(written))

    def finish(self) -> None:
        """Note that all is done; the state of training goes, as the adapter is a temporary one."""
        self.set_learned(replace(self.learned, state=None))
        self.put("finished", True)

    @property
    def finished(self) -> bool:
        """Whether all was done and written."""
        return bool(self.get("finished", False))

    def status(self) -> dict[str, Any]:
        """Counts, ready for JSON."""
        rows = self.segments()
        done = [row for row in rows if row.translation is not None]
        flags = Counter(flag for row in done for flag in row.flags)
        return {
            "segments": len(rows),
            "done": len(done),
            "finished": self.finished,
            "flagged": sum(bool(row.flags) for row in done),
            "flags": dict(sorted(flags.items())),
            "learned_blocks": self.learned.blocks,
            "tokens": sum(row.tokens for row in done),
            "seconds": round(self.get("seconds", 0.0), 1),
        }

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the job."""
        try:
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        return default if row is None else json.loads(row[0])

    def put(self, key: str, value: Any) -> None:
        """Keep a value with the job."""
        with self._change():
            self._set(key, value)

    def close(self) -> None:
        """Let others open it."""
        self._stack.close()

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        with self._change():
            if not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
                for statement in _SCHEMA.split(";\n"):
                    self._db.execute(statement)
                self._set("version", VERSION)

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
        name = getattr(error, "sqlite_errorname", "")  # not on errors of the module's own
        if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")):
            reason = (
                f"cannot be written ({error}); see to the disk and start again, nothing done is "
                "lost"
            )
        else:
            reason = f"not the folder of a job, or damaged ({error}); start with --restart"
        return JobError(f"{self.folder}: {reason}")


def folder_of(out: Path) -> Path:
    """Where the job of an output is kept."""
    return out.with_name(f"{out.name}.job")


def discard(folder: Path) -> None:
    """Throw away the job in ``folder``, be it damaged or of another version.

    Raises:
        JobError: another process is working on it, or it cannot be removed.
    """
    with _locked(folder):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise JobError(f"{folder}: cannot be removed ({error.strerror})") from error


def _locked(folder: Path) -> BinaryIO:
    """Keep other processes away from ``folder`` until the result is closed."""
    try:
        folder.mkdir(exist_ok=True)
        with ExitStack() as stack:  # closes the file if it cannot be locked
            lock = stack.enter_context((folder / "lock").open("ab"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stack.pop_all()
    except BlockingIOError:
        raise JobError(f"{folder}: another process is working on it") from None
    except OSError as error:
        raise JobError(f"{folder}: cannot be used ({error.strerror})") from error
    return lock
