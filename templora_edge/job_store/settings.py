"""The settings that a job was begun with, and what a later run changes in them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from templora_edge.errors import JobError, listed
from templora_edge.host.files import sha256_of

Settings: TypeAlias = Mapping[str, Any]


def changed_names(before: Settings, now: Settings) -> list[str]:
    """Names of the settings that differ, of those that both have."""
    return [name for name in now if name in before and now[name] != before[name]]


def refusal(out: Path, names: Sequence[str]) -> JobError:
    """The error of a run with other settings than the job of ``out`` was begun with."""
    return JobError(
        f"{out}: was begun with another {listed(names)}; use the same again, or discard its work "
        "with --restart"
    )


def digest(path: Path | None) -> str | None:
    """SHA-256 of a file; None of None."""
    return None if path is None else sha256_of(path)
