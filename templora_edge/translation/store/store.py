"""Durable state of a long translation: every finished segment survives a kill.

A job is a folder beside its output. It holds an SQLite file (WAL), with the settings, the segments
and the progress of training, and the state of the training process after the last learned block.
"""

import json
import sqlite3
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from templora_edge.closing import Closing
from templora_edge.errors import JobError
from templora_edge.translation.store import schema
from templora_edge.translation.store.job_folder import DATABASE, locked
from templora_edge.translation.store.segment_row import Origin, SegmentRow


@dataclass(frozen=True, slots=True)
class Learned:
    """Progress of training."""

    state: str | None = None
    """Name of the file with the state of training in the job's folder; None if there is none."""
    references: int = 0
    """Number of learned blocks of the references."""
    blocks: int = 0
    """Number of learned blocks of the document."""


class Store(Closing):
    """The open folder of a job. One process at a time works on it; any may read it.

    Args:
        folder: folder of the job, created if it is missing.
        read_only: open without locking; the folder must exist.
        beside: open without locking, to write results and note that, perhaps beside a process that
            works on the job; the folder must exist.

    Raises:
        JobError: the folder is damaged, in use, or cannot be written.
    """

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
                self._take_up(works=works, read_only=read_only)
                self._stack = stack.pop_all()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    @property
    def settings(self) -> dict[str, Any] | None:
        """Settings that the job was started with; None before `begin`."""
        found: dict[str, Any] | None = self.get("settings")
        return found

    @property
    def started(self) -> bool:
        """Whether the job has any work that could be lost."""
        row = self._db.execute("SELECT 1 FROM segment WHERE translation IS NOT NULL").fetchone()
        return row is not None or self.learned != Learned()

    def begin(self, settings: Mapping[str, Any], segments: Sequence[tuple[int, str]]) -> None:
        """Write the settings and all segments, (paragraph, source) each, in one transaction."""
        self.revise(settings, [SegmentRow.new(n, *one) for n, one in enumerate(segments, 1)])

    def revise(self, settings: Mapping[str, Any], rows: Sequence[SegmentRow]) -> None:
        """Replace the settings and all segments, in one transaction.

        Segments without an id get one that no other segment ever had. A finished job with something
        left to translate is open again, and learns anew. So does one that has learned no block: all
        its blocks begin where they would if it had just been begun.
        """
        learned, finished = self.learned, self.finished
        reopened = finished and any(row.translation is None for row in rows)
        if reopened:
            learned = Learned()
        if reopened or not (finished or learned.blocks):
            rows = [replace(row, learned=False) for row in rows]
        with self._change():
            self._db.execute("DELETE FROM segment")
            self._db.executemany(
                "INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (row.id or None, row.position, row.paragraph, row.source, row.translation,
                     row.origin, json.dumps(row.flags), row.attempts, row.tokens, row.seconds,
                     row.learned)
                    for row in rows
                ),
            )  # fmt: skip
            self._set("settings", dict(settings))
            self._set("learned", asdict(learned))
            self._set("finished", finished and not reopened)

    def segments(self) -> list[SegmentRow]:
        """All segments, in reading order."""
        found: list[tuple[Any, ...]]
        found = self._db.execute("SELECT * FROM segment ORDER BY position").fetchall()
        return [
            replace(
                SegmentRow(*values),
                origin=Origin(values[5]),
                flags=tuple(json.loads(values[6])),
                learned=bool(values[-1]),
            )
            for values in found
        ]

    def finish_segment(self, *rows: SegmentRow) -> None:
        """Save the translations of segments, all or none; they are on disk when this returns."""
        with self._change():
            for row in rows:
                self._save(row)

    def edit(self, rows: Sequence[SegmentRow]) -> None:
        """Save translations that a person gave, all or none.

        Those in finished blocks are to be learned again, unless the job itself is finished.
        """
        finished = self.finished
        with self._change():
            for row in rows:
                self._save(row)
                if not finished:
                    self._db.execute("UPDATE segment SET learned = 0 WHERE id = ?", (row.id,))

    @property
    def learned(self) -> Learned:
        """Progress of training."""
        return Learned(**self.get("learned", asdict(Learned())))

    def set_learned(self, learned: Learned, block: Sequence[SegmentRow] = ()) -> None:
        """Save the progress of training, after ``block``, and remove the old state.

        The new state must be on disk.
        """
        before = self.learned.state
        with self._change():
            self._set("learned", asdict(learned))
            self._db.executemany(
                "UPDATE segment SET learned = 1 WHERE id = ?", [(row.id,) for row in block]
            )
        if before not in (None, learned.state):
            with suppress(OSError):
                (self.folder / str(before)).unlink()

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

    def finish(self) -> None:
        """Mark the job as finished, and remove the state of training: the adapter is temporary."""
        self.set_learned(replace(self.learned, state=None))
        self.put("finished", True)

    @property
    def finished(self) -> bool:
        """Whether everything is translated and written."""
        return bool(self.get("finished", False))

    @property
    def processors(self) -> list[dict[str, Any]]:
        """Processors that worked on the job, in order: name, and segments done before it began."""
        found: list[dict[str, Any]] = self.get("processors", [])
        return found

    def note_processor(self, name: str) -> None:
        """Note that the processor ``name`` works on the job from here on."""
        is_done = "SELECT count(*) FROM segment WHERE translation IS NOT NULL"
        (done,) = self._db.execute(is_done).fetchone()
        known = [one for one in self.processors if one["segments_before"] < done]
        if not known or known[-1]["name"] != name:
            self.put("processors", [*known, {"name": name, "segments_before": done}])

    def set_places(self, places: Sequence[str]) -> None:
        """Save where each paragraph is, as `Document.places` names it."""
        begins = [i for i, place in enumerate(places) if i == 0 or place != places[i - 1]]
        self.put("places", [[begin, places[begin]] for begin in begins])

    def status(self) -> dict[str, Any]:
        """Counts of segments, flags, tokens and so on, and all that is flagged, ready for JSON."""
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
            "processors": self.processors,
            "flagged_segments": self._placed([row for row in done if row.flags]),
        }

    def _placed(self, rows: Sequence[SegmentRow]) -> list[dict[str, Any]]:
        """``rows`` ready for JSON, with their places."""
        places: list[tuple[int, str]] = self.get("places", [])
        begins = [begin for begin, _ in places]
        numbers = [bisect_right(begins, row.paragraph) - 1 for row in rows]
        return [
            asdict(row) | {"place": places[number][1] if number >= 0 else ""}
            for row, number in zip(rows, numbers, strict=True)
        ]

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

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        with self._change():
            if not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
                schema.create(self._db)

    def _take_up(self, *, works: bool, read_only: bool) -> None:
        """Make a job of version 1 one of today, or show it as one."""
        version = self.get("version")
        if version == 1 and works:
            with self._change():
                schema.upgrade(self._db)
        elif version == 1 and read_only:
            schema.show_upgraded(self._db)
        elif version == 1:
            raise JobError(f"{self.folder}: of an earlier version; continue the translation first")
        elif version != schema.VERSION:
            raise JobError(
                f"{self.folder}: of another version of this program; start with --restart"
            )

    def _save(self, row: SegmentRow) -> None:
        self._db.execute(
            "UPDATE segment SET translation = ?, origin = ?, flags = ?, attempts = ?, "
            "tokens = ?, seconds = ? WHERE id = ?",
            (row.translation, row.origin, json.dumps(row.flags), row.attempts, row.tokens,
             row.seconds, row.id),
        )  # fmt: skip

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
                f"cannot be written ({error}); check the disk and run the command again; no "
                "finished segment is lost"
            )
        else:
            reason = f"not the folder of a job, or damaged ({error}); start with --restart"
        return JobError(f"{self.folder}: {reason}")
