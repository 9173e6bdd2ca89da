"""Progress of a book."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from templora_edge.generation.text_store import TextStore
from templora_edge.job_store.folder import is_begun
from templora_edge.job_store.store import JobStore
from templora_edge.translation.store.store import Store


@dataclass(frozen=True, slots=True)
class Standing:
    """Progress of a book."""

    share: float = 0.0
    """Part of the text that is done, from 0 to 1."""
    tokens: int = 0
    """Tokens that were written, or read where nothing is written."""
    flagged: int = 0
    """Segments to look at."""
    mark: int = 0
    """Another number after each block."""


def standing_of(folder: Path) -> Standing:
    """Progress of the job in ``folder``.

    Raises:
        JobError: it is damaged.
    """
    if not is_begun(folder):
        return Standing()
    if _kind(folder) == TextStore.KIND:
        with TextStore(folder, read_only=True) as text:
            status = text.status()
            state = text.state
        read, total = status["absorbed_tokens"], max(1, status["prompt_tokens"])
        share = 1.0 if status["finished"] else read / total
        return Standing(share, read, mark=state.n_blocks if state else 0)
    with Store(folder, read_only=True) as store:
        rows = store.segments()
    length = sum(len(row.source) for row in rows)
    done = [row for row in rows if row.translation is not None]
    return Standing(
        sum(len(row.source) for row in done) / max(1, length),
        sum(row.tokens for row in done),
        sum(bool(row.flags) for row in done),
        sum(row.learned for row in rows),
    )


def status_of(folder: Path) -> dict[str, Any]:
    """Status of the job in ``folder``, ready for JSON; empty if none was begun.

    Raises:
        JobError: it is damaged.
    """
    if not is_begun(folder):
        return {}
    kind = TextStore if _kind(folder) == TextStore.KIND else Store
    with kind(folder, read_only=True) as store:
        return store.status()


def _kind(folder: Path) -> str:
    with JobStore(folder, read_only=True) as store:
        return store.kind
