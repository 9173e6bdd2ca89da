"""Tables of pairs, as spreadsheets and translators' tools write them: a source, its translation."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from langcodes import Language

from templora_edge.translation.prompt import Pair

DELIMITERS: Final = ("\t", ";", "|", ",")
_SOURCES: Final = frozenset((
    "source", "src", "sl", "term", "terme", "terms", "termes", "mot", "begriff", "quelle",
    "quellbegriff", "ausgangstext", "término", "termino", "origen", "termine", "origine",
    "original", "from", "key",
))  # fmt: skip
_TARGETS: Final = frozenset((
    "target", "tgt", "tl", "translation", "translations", "traduction", "traductions",
    "übersetzung", "ziel", "zielbegriff", "zieltext", "traducción", "traduccion", "destino",
    "traduzione", "cible", "to", "value",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class PairRow:
    """A row of a table."""

    line: int
    """Number of its last line in the file, from 1."""
    pair: Pair
    has_both: bool
    """Whether it has a cell for each text, even if that is empty."""


def read_table(text: str, source_language: str, target_language: str) -> list[PairRow]:
    """The pairs of a table in the order of their rows; a missing text is empty.

    Cells are separated by tabs, semicolons, bars or commas. Blank rows and comments, which begin
    with #, are left out, and so is a header, which may name the columns in any order.

    Raises:
        csv.Error: the text is not a table.
    """
    delimiter = _delimiter(text)
    rows = [
        (line, cells)
        for line, cells in _rows(text, delimiter)
        if any(cells) and not _is_comment(cells, delimiter)
    ]
    columns = 0, 1
    header = _columns(rows[0][1], source_language, target_language) if rows else None
    if header is not None:
        columns, rows = header, rows[1:]
    return [
        PairRow(line, Pair(*(_cell(cells, one) for one in columns)), len(cells) > max(columns))
        for line, cells in rows
    ]


def _rows(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Each row's last line and cells; quotes mean nothing between tabs."""
    lines = io.StringIO(text, newline="")
    if delimiter == "\t":
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=delimiter)
    return [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]


def _delimiter(text: str) -> str:
    """The delimiter that makes pairs of most lines, or else the one that stands first in them."""
    lines = [line for line in text.split("\n") if line.strip() and not line.startswith("#")]

    def fitness(delimiter: str) -> tuple[int, int]:
        places = [line.find(delimiter) for line in lines if delimiter in line]
        return len(places), -sum(places)

    return max(DELIMITERS, key=fitness)


def _is_comment(cells: Sequence[str], delimiter: str) -> bool:
    """Whether a row is a comment; a sentence, which a tab ends, may begin with #."""
    marked = cells[0].startswith("# ") and delimiter != "\t"
    return cells[0].startswith("#") and (marked or len(cells) == 1)


def _columns(
    cells: Sequence[str], source_language: str, target_language: str
) -> tuple[int, int] | None:
    """The columns of source and translation if ``cells`` is a header that names both."""
    names = [cell.casefold().replace("_", "-") for cell in cells]
    found = []
    for words, language in ((_SOURCES, source_language), (_TARGETS, target_language)):
        known = words | _names(language, (source_language, target_language))
        places = [i for i, name in enumerate(names) if name in known]
        if not places:
            return None
        found.append(places[0])
    return (found[0], found[1]) if found[0] != found[1] else None


def _names(language: str, languages: Sequence[str]) -> frozenset[str]:
    """The codes of a language, and its names in English and in ``languages``."""
    main = Language.get(language).language or language
    names = {Language.get(main).display_name(one) for one in ("en", *languages)}
    codes = {language, main, f"{main}-{main}", Language.get(main).to_alpha3()}
    return frozenset(name.casefold() for name in names | codes)


def _cell(cells: Sequence[str], column: int) -> str:
    return cells[column] if column < len(cells) else ""
