"""Markdown tables, and the versions that go above them."""

from collections.abc import Mapping, Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def versions(machine: Mapping[str, Any]) -> str:
    """Names and versions of the libraries that `runs.machine` found."""
    return ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
