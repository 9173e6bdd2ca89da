"""Exchange with other translators' tools: XLIFF and TMX, with lxml.

`read_exchange` and `write_exchange` choose the format by the suffix.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from templora_edge.errors import OptionError
from templora_edge.extras import needs_extra
from templora_edge.translation.exchange.segment import ExchangedJob, ExchangedSegment, State

if TYPE_CHECKING:
    from collections.abc import Callable

SUFFIXES: Final = (".xlf", ".xliff", ".tmx")

__all__ = [
    "SUFFIXES",
    "ExchangedJob",
    "ExchangedSegment",
    "State",
    "is_exchange",
    "read_exchange",
    "write_exchange",
]


def is_exchange(path: Path) -> bool:
    """Whether ``path`` is named like a file of XLIFF or TMX."""
    return path.suffix.lower() in SUFFIXES


def read_exchange(
    path: Path, flag: str, source_language: str, target_language: str
) -> list[ExchangedSegment]:
    """Read the segments of an XLIFF or TMX file, in order.

    Raises:
        DocumentError: the file cannot be read, or has nothing between these languages.
        MissingExtraError: lxml is not installed.
    """
    read: Callable[[Path, str, str, str], list[ExchangedSegment]]
    with needs_extra("documents", f"{flag} {path}"):
        if path.suffix.lower() == ".tmx":
            from templora_edge.translation.exchange.tmx import read_tmx as read
        else:
            from templora_edge.translation.exchange.xliff import read_xliff as read
    return read(path, flag, source_language, target_language)


def write_exchange(path: Path, job: ExchangedJob, suffix: str) -> None:
    """Write a job to ``path`` as XLIFF or TMX.

    Raises:
        OptionError: ``suffix`` is none of `SUFFIXES`.
        OSError: ``path`` cannot be written.
        MissingExtraError: lxml is not installed.
    """
    write: Callable[[Path, ExchangedJob], None]
    if suffix.lower() not in SUFFIXES:
        raise OptionError(f"expected a file name that ends in {', '.join(SUFFIXES)}")
    with needs_extra("documents", suffix):
        if suffix.lower() == ".tmx":
            from templora_edge.translation.exchange.tmx import write_tmx as write
        else:
            from templora_edge.translation.exchange.xliff import write_xliff as write
    write(path, job)
