"""Tables of pairs, as spreadsheets and translators' tools write them: a source, its translation."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from langcodes import Language

from templora_edge.translation.prompt import Pair

DELIMITERS: Final = ("\t", ";", "|", ",")
"""Characters that may stand between cells; of two that fit equally well, the first."""
_SEPARATOR_LINE: Final = re.compile(r'\s*"?sep=(.)"?[^\w\n]*(?=\n|$)', re.IGNORECASE)
"""A first line that names the delimiter, as Excel writes and reads it."""
_QUOTED_CELL: Final = re.compile(r'"(?:[^"]|"")*"')
_NAME_WORD: Final = re.compile(r"[^\W\d_]+")
_TAG: Final = re.compile(r"[a-z]{2,3}(?:-[a-z0-9]{2,8})*")
_SOURCES: Final = frozenset((
    "source", "src", "sl", "term", "terme", "terms", "termes", "mot", "begriff", "quelle",
    "quellbegriff", "ausgangstext", "término", "termino", "origen", "termine", "origine",
    "original", "from", "key", "name", "names", "nom", "noms", "word", "phrase", "expression",
    "headword", "lemma", "entry",
))  # fmt: skip
_TARGETS: Final = frozenset((
    "target", "tgt", "tl", "translation", "translations", "traduction", "traductions",
    "übersetzung", "ziel", "zielbegriff", "zieltext", "traducción", "traduccion", "destino",
    "traduzione", "cible", "to", "value", "rendering", "equivalent",
))  # fmt: skip
_FILLERS: Final = frozenset(("text", "language", "langue", "sprache", "segment", "term", "terme"))
"""Words that may stand beside these, as in "Target term (English)"."""


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

    Cells are separated by tabs, semicolons, bars, commas, or what a first line ``sep=`` says, and
    may be quoted. Blank rows and comments, which begin with #, are left out, and so is a header,
    which may name the columns in any order; without one, they are the first two.

    Raises:
        csv.Error: a quotation mark is not closed, or a cell is too long; it names the line.
    """
    named = _SEPARATOR_LINE.match(text)
    if named is not None:
        text = text[named.end() :]
    delimiters = (named[1],) if named else DELIMITERS
    tables = [_Table(text, one, source_language, target_language) for one in delimiters]
    return max(tables, key=lambda table: table.fitness).pairs()


class _Table:
    """A text, read as a table with one delimiter.

    csv.Sniffer would guess the delimiter, but takes a letter for one where there are comments.
    """

    def __init__(self, text: str, delimiter: str, source: str, target: str) -> None:
        self._error: csv.Error | None = None
        rows: list[tuple[int, list[str]]] = []
        try:
            rows.extend(_rows(text, delimiter))
        except csv.Error as error:
            self._error = error
        self._rows = [
            (line, cells)
            for line, cells in rows
            if any(cells) and not _is_comment(cells, delimiter)
        ]
        self._columns = _columns(self._rows[0][1], source, target) if self._rows else None
        self._loose = sum(f"{delimiter} " in line for line in text.split("\n"))

    @property
    def fitness(self) -> tuple[bool, float, float, int]:
        """How well the delimiter fits: the greatest is the best.

        It is that of a header that names both columns, or else the one that makes pairs of most
        rows, then as many cells of each as of others, and that no space follows, as in prose.
        """
        lengths = Counter(len(cells) for _, cells in self._rows)
        n_rows = max(1, len(self._rows))
        pairs = sum(n for length, n in lengths.items() if length > 1) / n_rows
        usual = max((n for length, n in lengths.items() if length > 1), default=0) / n_rows
        return self._columns is not None, pairs, usual, -self._loose

    def pairs(self) -> list[PairRow]:
        """The rows below the header."""
        if self._error is not None:
            raise self._error
        columns = self._columns or (0, 1)
        return [
            PairRow(line, Pair(*(_cell(cells, one) for one in columns)), len(cells) > max(columns))
            for line, cells in self._rows[self._columns is not None :]
        ]


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each row's last line and cells."""
    quote = _quote(text, delimiter)
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quotechar=quote or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        skipinitialspace=True,
        strict=True,
    )
    begin = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise csv.Error(
                f"line {begin}: {error}; a quotation mark in a quoted cell is written twice"
            ) from error
        if cells is None:
            return
        yield reader.line_num, [cell.strip() for cell in cells]
        begin = reader.line_num + 1


def _quote(text: str, delimiter: str) -> str:
    """The character that quotes cells; empty if quotation marks are text.

    They are where no cell is quoted as a whole and, between tabs, unless all cells are that have
    such marks: the sentences of a dialogue begin and end with them, too.
    """
    cells = [cell.strip() for line in text.split("\n") for cell in line.split(delimiter)]
    cells = [cell for cell in cells if cell]
    if cells and all(len(cell) > 1 and cell[0] == cell[-1] == "'" for cell in cells):
        return "'"
    quoted = [_QUOTED_CELL.fullmatch(cell) is not None for cell in cells]
    if delimiter == "\t":
        marked = [is_quoted for cell, is_quoted in zip(cells, quoted, strict=True) if '"' in cell]
        needs = all(quoted) or any('""' in cell[1:-1] for cell in cells)
        return '"' if marked and all(marked) and needs else ""
    # a cell may hold delimiters and line ends
    spans = any(c.startswith('"') for c in cells) and any(c.endswith('"') for c in cells)
    return '"' if any(quoted) or spans else ""


def _is_comment(cells: Sequence[str], delimiter: str) -> bool:
    """Whether a row is a comment; a sentence, which a tab ends, may begin with #."""
    marked = cells[0].startswith("# ") and delimiter != "\t"
    return cells[0].startswith("#") and (marked or len(cells) == 1)


def _columns(
    cells: Sequence[str], source_language: str, target_language: str
) -> tuple[int, int] | None:
    """The columns of source and translation if ``cells`` is a header that names both."""
    names = [cell.casefold().replace("_", "-").strip(" :*#") for cell in cells]
    both = source_language, target_language
    sources = _SOURCES | _names(source_language, both)
    targets = _TARGETS | _names(target_language, both)
    for target in _places(names, target_language, targets, sources):
        for source in _places(names, source_language, sources, targets):
            if source != target:
                return source, target
    return None


def _places(
    names: Sequence[str], language: str, own: frozenset[str], other: frozenset[str]
) -> list[int]:
    """The columns that hold texts of ``language``, the surest first.

    Args:
        names: names of the columns.
        language: BCP 47 tag.
        own: names of such a column.
        other: names of the other column.
    """
    main = language.casefold().partition("-")[0]

    def sureness(name: str) -> int:
        words = set(_NAME_WORD.findall(name))
        kinds = (
            _TAG.fullmatch(name) is not None and name.partition("-")[0] == main,
            bool(words & own) and words <= own | _FILLERS and not words & other - own - _FILLERS,
            name in own,
            name == language.casefold(),
        )
        return max((number for number, holds in enumerate(kinds, 1) if holds), default=0)

    found = {place: sureness(name) for place, name in enumerate(names)}
    return sorted((place for place, n in found.items() if n), key=lambda place: -found[place])


def _names(language: str, languages: Sequence[str]) -> frozenset[str]:
    """The codes of a language, and its names in English and in ``languages``."""
    main = Language.get(language).language or language
    names = {Language.get(main).display_name(one) for one in ("en", *languages)}
    codes = {language, main, f"{main}-{main}", Language.get(main).to_alpha3()}
    return frozenset(name.casefold() for name in names | codes)


def _cell(cells: Sequence[str], column: int) -> str:
    return cells[column] if column < len(cells) else ""
