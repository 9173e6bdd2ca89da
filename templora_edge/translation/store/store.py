"""Durable state of a long translation: every finished segment survives a kill.

A job is a folder beside its output. It holds an SQLite file (WAL), with the settings, the segments
and the progress of training, and the state of the training process after the last learned block.
"""

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from templora_edge.errors import JobError
from templora_edge.job_store.store import JobStore
from templora_edge.translation.store import schema
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


class Store(JobStore):
    """The folder of a translation; see `JobStore`."""

    KIND = "translation"
    VERSION = schema.VERSION

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

    def finish(self) -> None:
        """Mark the job as finished, and remove the state of training: the adapter is temporary."""
        self.set_learned(replace(self.learned, state=None))
        self.put("finished", True)

    @property
    def n_done(self) -> int:
        """Number of segments that are translated."""
        query = "SELECT count(*) FROM segment WHERE translation IS NOT NULL"
        return int(self._db.execute(query).fetchone()[0])

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
            "seconds": round(self.seconds, 1),
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

    def _create(self) -> None:
        schema.create(self._db)

    def _take_up(self, version: int, *, works: bool, read_only: bool) -> None:
        """Make a job of version 1 one of today, or show it as one."""
        if version != 1:
            super()._take_up(version, works=works, read_only=read_only)
        elif works:
            with self._change():
                schema.upgrade(self._db)
                self._set("version", schema.VERSION)
        elif read_only:
            schema.show_upgraded(self._db)
        else:
            raise JobError(f"{self.folder}: of an earlier version; continue the translation first")

    def _save(self, row: SegmentRow) -> None:
        self._db.execute(
            "UPDATE segment SET translation = ?, origin = ?, flags = ?, attempts = ?, "
            "tokens = ?, seconds = ? WHERE id = ?",
            (row.translation, row.origin, json.dumps(row.flags), row.attempts, row.tokens,
             row.seconds, row.id),
        )  # fmt: skip


def status(folder: Path) -> dict[str, Any]:
    """The status of the job in ``folder``."""
    with Store(folder, read_only=True) as store:
        return store.status()
