"""A document read, cut into segments, put together again, written, and read once more."""

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from scripts.round_trips import books, plain, word
from templora_edge.documents import read_document
from templora_edge.documents.markup import PLACEHOLDER, UNGROUPED
from templora_edge.errors import TemploraError
from templora_edge.translation.segmenter import assembled, segments

_LONGEST_SEGMENT: Final = 400
_COMPARISONS: Final[Mapping[str, Callable[[Path, Path], list[str]]]] = {
    ".docx": word.differences,
    ".epub": books.differences,
}
"""Suffix -> what differs between two files; other files are text."""


@dataclass(frozen=True, slots=True)
class Trip:
    """The result for one document."""

    refused: str = ""
    """The message, if it was not read."""
    paragraphs: int = 0
    skipped: int = 0
    """Number of texts left untranslated on purpose."""
    differ: tuple[str, ...] = ()
    """Differences after each segment was its own translation, such as names of parts."""
    lost: tuple[str, ...] = ()
    """Paragraphs in capitals that were not in the document that they were written to."""
    seconds: float = 0


def tried(path: Path) -> Trip:
    """Put the document at ``path`` through an engine that repeats, and one that shouts."""
    begun = time.perf_counter()
    try:
        document = read_document(path)
    except TemploraError as error:
        return Trip(refused=str(error), seconds=time.perf_counter() - begun)
    with TemporaryDirectory() as folder:
        same, loud = (Path(folder, f"{name}{path.suffix}") for name in ("same", "loud"))
        texts = document.paragraphs
        document.write(same, [_again(text, str) for text in texts], language="fr")
        shouted = [_again(text, _upper) for text in texts]
        document.write(loud, shouted, language="fr")
        found = [_plain(text) for text in read_document(loud, "fr").paragraphs] if texts else []
        missing = Counter(map(_plain, shouted)) - Counter(found)
        if path.suffix.lower() == ".txt":  # lines in capitals look like verse, a paragraph each
            whole = " ".join(found)
            missing = Counter(text for text in missing if text not in whole)
        differ = _COMPARISONS.get(path.suffix.lower(), plain.differences)(path, same)
    return Trip(
        paragraphs=len(texts),
        skipped=sum(document.skipped.values()),
        differ=tuple(differ),
        lost=tuple(missing.elements()),
        seconds=time.perf_counter() - begun,
    )


def _again(text: str, translate: Callable[[str], str]) -> str:
    pieces = segments(text, lambda piece: len(piece) < _LONGEST_SEGMENT)
    return assembled(text, [(piece, translate(piece)) for piece in pieces])


def _upper(text: str) -> str:
    return "".join(
        part if PLACEHOLDER.fullmatch(part) else part.upper()
        for part in re.split(f"({UNGROUPED})", text)
    )


def _plain(text: str) -> str:
    """The words of ``text``: what is a placeholder may depend on what is near."""
    return " ".join(PLACEHOLDER.sub(" ", text).upper().split())
