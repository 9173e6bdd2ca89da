"""Glossaries of required translations of terms: a table of pairs, or TBX."""

import csv
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from langcodes import Language

from templora_edge.errors import DocumentError, listed
from templora_edge.extras import needs_extra
from templora_edge.host.text_file import decode, universal_newlines
from templora_edge.translation.glossary.pair_table import read_table
from templora_edge.translation.prompt import Pair

_logger: Final = logging.getLogger(__name__)

SPREADSHEETS: Final = frozenset([".xlsx", ".xls", ".ods", ".numbers"])


@dataclass(frozen=True, slots=True)
class Glossary:
    """Terms and their required translations."""

    terms: tuple[Pair, ...]

    def found_in(self, source: str) -> tuple[Pair, ...]:
        """Terms that occur in ``source``, longest first."""
        found = [term for term in self.terms if _occurs(term.source, source)]
        return tuple(sorted(found, key=lambda term: -len(term.source)))

    def violations(self, source: str, translation: str) -> list[Pair]:
        """Terms of ``source`` whose translation is not in ``translation``."""
        return [
            term for term in self.found_in(source) if not _occurs(term.translation, translation)
        ]

    def after(self, terms: Sequence[Pair]) -> "Glossary":
        """``terms``, and those of this glossary that are not among them."""
        known = {term.source.casefold() for term in terms}
        others = (term for term in self.terms if term.source.casefold() not in known)
        return Glossary((*terms, *others))

    @classmethod
    def read(cls, path: Path, source_language: str, target_language: str) -> "Glossary":
        """Read a .tbx file, or a table as `read_table` knows it.

        Raises:
            DocumentError: the file cannot be read, or has no terms for these languages.
            MissingExtraError: lxml, which reads .tbx, is not installed.
        """
        try:
            if path.suffix.lower() == ".tbx":
                with needs_extra("documents", f"--glossary {path}"):
                    from templora_edge.translation.glossary.tbx import read_tbx
                terms = read_tbx(path, source_language, target_language)
                if not terms:
                    raise DocumentError(
                        f"--glossary {path}: no terms from {source_language} to {target_language}; "
                        "expected a TBX with both languages"
                    )
            else:
                terms = _read_table(path, source_language, target_language)
        except csv.Error as error:
            raise DocumentError(f"--glossary {path}: {error}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise DocumentError(f"--glossary {path}: cannot be read ({error})") from error
        return cls(_one_each(terms, path))


def _occurs(term: str, text: str) -> bool:
    """Whether ``term`` occurs in ``text``, ignoring case; as whole words in spaced scripts."""
    pattern = re.escape(term)
    if term[:1].isascii() or term[:1].isalpha():
        pattern = rf"(?<![^\W\d_]){pattern}(?![^\W\d_])" if _has_spaces(term) else pattern
    return re.search(pattern, text, re.IGNORECASE) is not None


def _has_spaces(term: str) -> bool:
    return all(ord(character) < 0x2E80 for character in term)


def _read_table(path: Path, source_language: str, target_language: str) -> list[Pair]:
    """The terms of a table; those that have no translation yet are named in a warning.

    Raises:
        DocumentError: there is no table, or a row has one cell.
    """
    if path.suffix.lower() in SPREADSHEETS:
        raise DocumentError(f"--glossary {path}: a spreadsheet; save it as CSV, or give a .tbx")
    rows = read_table(
        _text_of(path, source_language, target_language), source_language, target_language
    )
    for row in rows:
        if not row.has_both:
            raise DocumentError(
                f"--glossary {path}: line {row.line} has no translation "
                f"({(row.pair.source or row.pair.translation)[:80]!r}); expected source,translation"
            )
    if not rows:
        raise DocumentError(f"--glossary {path}: no terms; expected lines of source,translation")
    empty = [row for row in rows if not row.pair.source or not row.pair.translation]
    if empty:
        _logger.warning(
            "--glossary %s: line %s: a term or its translation is missing; left out",
            path,
            listed([str(row.line) for row in empty]),
        )
    return [row.pair for row in rows if row.pair.source and row.pair.translation]


def _text_of(path: Path, *languages: str) -> str:
    """The text of a file; the language in another script tells its old encoding."""
    scripts = ((one, Language.get(one).maximize().script) for one in languages)
    language = next((one for one, script in scripts if script != "Latn"), None)
    return universal_newlines(decode(path.read_bytes(), str(path), language))


def _one_each(terms: Sequence[Pair], path: Path) -> tuple[Pair, ...]:
    """The first translation of each term; a warning names the terms that have others."""
    chosen: dict[str, Pair] = {}
    for term in terms:
        first = chosen.setdefault(term.source.casefold(), term)
        if first.translation != term.translation:
            _logger.warning(
                "--glossary %s: %r has two translations, %r and %r; the first is used",
                path,
                term.source,
                first.translation,
                term.translation,
            )
    return tuple(chosen.values())
