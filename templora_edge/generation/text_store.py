"""Durable state of a generated text: its tokens, its blocks, and where the work is."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from templora_edge.events import BlockReport
from templora_edge.job_store.store import JobStore
from templora_edge.loop import LoopState
from templora_edge.text_cache import CacheState

_TEXT_TABLE: Final = """
CREATE TABLE token (
    position INTEGER PRIMARY KEY,  -- place in the whole text, the prompt included
    id INTEGER NOT NULL,
    text TEXT                      -- what it adds to the written text; NULL in the prompt
)
"""
_BLOCK_TABLE: Final = "CREATE TABLE block (number INTEGER PRIMARY KEY, report TEXT NOT NULL)"
STATE_FILES: Final = ("training-*.pt", "cache-*.kv", "states-*.npz")
"""Names of the files of a `State`; the numbers of blocks stand for *."""


@dataclass(frozen=True, slots=True)
class State:
    """Everything that the text depends on from the edge of a block on, or in the prompt.

    Files are named in the job's folder.
    """

    n_tokens: int
    """Length of the text that it follows, in tokens."""
    n_blocks: int
    loop: LoopState
    training: str | None = None
    """File with the state of training; None if nothing was learned."""
    cache: str | None = None
    """File with llama.cpp's KV cache; None if it is empty."""
    captured: str | None = None
    """File with llama.cpp's states of blocks that are to be learned; None if there are none."""
    checksums: Mapping[str, int] = field(default_factory=dict)
    """CRC-32 of these two, which nobody flushes to disk: they are large, and new at every block."""

    @property
    def files(self) -> set[str]:
        """Names of its files."""
        return {name for name in (self.training, self.cache, self.captured) if name is not None}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "State":
        """The state whose ``asdict`` became ``found``."""
        loop = found["loop"]
        due = tuple((int(n), int(begin), int(end)) for n, begin, end in loop["due"])
        state = LoopState(CacheState(**loop["cache"]), due, loop["learned"])
        return cls(**found | {"loop": state})


class TextStore(JobStore):
    """The folder of a generation; see `JobStore`."""

    KIND = "generation"
    VERSION = 1

    def begin(
        self, settings: Mapping[str, Any], notes: Sequence[int], prompt: Sequence[int]
    ) -> None:
        """Write the settings and the tokens of notes and prompt, in one transaction."""
        with self._change():
            self._set("settings", dict(settings))
            self._set("notes", list(notes))
            self._set("prompt_tokens", len(prompt))
            self._db.executemany("INSERT INTO token VALUES (?, ?, NULL)", enumerate(prompt))

    @property
    def notes(self) -> list[int]:
        """Tokens of the notes."""
        return [int(token) for token in self.get("notes", [])]

    @property
    def n_prompt(self) -> int:
        """Length of the prompt in tokens."""
        return int(self.get("prompt_tokens", 0))

    def tokens(self) -> list[int]:
        """Tokens of the whole text, the prompt included."""
        return [row[0] for row in self._rows("SELECT id FROM token ORDER BY position")]

    @property
    def text(self) -> str:
        """The text that was written so far."""
        rows = self._rows("SELECT text FROM token WHERE text NOTNULL ORDER BY position")
        return "".join(row[0] for row in rows)

    def wrote(self, content: bytes) -> bool:
        """Whether ``content`` is what the job wrote to its file, or the beginning of that."""
        whole = self.text + str(self.get("end", ""))
        return whole.encode().startswith(content)

    def add(self, begin: int, tokens: Sequence[tuple[int, str]]) -> None:
        """Append tokens, (id, text) each, from position ``begin`` on; the text is open again."""
        with self._change():
            self._db.executemany(
                "INSERT INTO token VALUES (?, ?, ?)",
                ((position, *token) for position, token in enumerate(tokens, begin)),
            )
            self._set("finished", False)

    @property
    def state(self) -> State | None:
        """The last state that was saved."""
        found = self.get("state")
        return None if found is None else State.from_json(found)

    def save_state(self, state: State, blocks: Mapping[int, BlockReport]) -> None:
        """Save where the work is, and new reports of blocks; remove files of other states.

        The files of ``state`` must be there.
        """
        with self._change():
            self._set("state", asdict(state))
            self._db.executemany(
                "INSERT OR REPLACE INTO block VALUES (?, ?)",
                ((number, json.dumps(asdict(report))) for number, report in blocks.items()),
            )
        self._sweep(state.files)

    def blocks(self, n: int) -> list[BlockReport]:
        """Reports of the first ``n`` blocks."""
        rows = self._rows("SELECT report FROM block WHERE number < ? ORDER BY number", (n,))
        return [BlockReport(**json.loads(row[0])) for row in rows]

    def finish(self, end: str, *, ended: bool) -> None:
        """Mark the text as finished.

        Args:
            end: what stands in the file after the text.
            ended: whether the model ended it, so that there is nothing to go on with.
        """
        with self._change():
            self._set("end", end)
            self._set("ended", ended)
            self._set("finished", True)

    @property
    def ended(self) -> bool:
        """Whether the model ended the text."""
        return bool(self.get("ended", False))

    def status(self) -> dict[str, Any]:
        """Counts of tokens and blocks, and whether the text is finished, ready for JSON."""
        state = self.state
        [(n_tokens,)] = self._rows("SELECT count(*) FROM token")
        reports = self.blocks(state.n_blocks) if state is not None else []
        return {
            "kind": self.kind,
            "tokens": n_tokens - self.n_prompt,
            "n_predict": self.get("n_predict"),
            "prompt_tokens": self.n_prompt,
            "absorbed_tokens": sum(report.tokens for report in reports if report.given),
            "learned_blocks": sum(report.train_s > 0 for report in reports),
            "finished": self.finished,
            "ended": self.ended,
            "seconds": round(self.seconds, 1),
            "processors": self.processors,
        }

    def _create(self) -> None:
        self._db.execute(_TEXT_TABLE)
        self._db.execute(_BLOCK_TABLE)

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _sweep(self, kept: set[str]) -> None:
        for pattern in STATE_FILES:
            for path in self.folder.glob(pattern):
                if path.name not in kept:
                    with suppress(OSError):
                        path.unlink()


def status(folder: Path) -> dict[str, Any]:
    """The status of the job in ``folder``."""
    with TextStore(folder, read_only=True) as store:
        return store.status()
