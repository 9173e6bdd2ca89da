"""Glossaries of required translations of terms: CSV with two columns, or TBX."""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from templora_edge.errors import DocumentError
from templora_edge.extras import needs_extra
from templora_edge.host.text_file import read_text
from templora_edge.translation.prompt import Pair


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

    @classmethod
    def read(cls, path: Path, source_language: str, target_language: str) -> "Glossary":
        """Read a .csv or .tbx file.

        Raises:
            DocumentError: the file cannot be read, or has no terms for these languages.
            MissingExtraError: lxml, which reads .tbx, is not installed.
        """
        try:
            if path.suffix.lower() == ".tbx":
                with needs_extra("documents", f"--glossary {path}"):
                    from templora_edge.translation.tbx import read_tbx
                terms = read_tbx(path, source_language, target_language)
            else:
                terms = _read_csv(path)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DocumentError(f"--glossary {path}: cannot be read ({error})") from error
        if not terms:
            raise DocumentError(
                f"--glossary {path}: no terms from {source_language} to {target_language}; "
                "expected lines of source,translation, or a TBX with both languages"
            )
        return cls(tuple(terms))


def _occurs(term: str, text: str) -> bool:
    """Whether ``term`` occurs in ``text``, ignoring case; as whole words in spaced scripts."""
    pattern = re.escape(term)
    if term[:1].isascii() or term[:1].isalpha():
        pattern = rf"(?<![^\W\d_]){pattern}(?![^\W\d_])" if _has_spaces(term) else pattern
    return re.search(pattern, text, re.IGNORECASE) is not None


def _has_spaces(term: str) -> bool:
    return all(ord(character) < 0x2E80 for character in term)


def _read_csv(path: Path) -> list[Pair]:
    lines = io.StringIO(read_text(path), newline="")
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines)]
    for number, row in enumerate(rows, 1):
        if row and (len(row) < 2 or not row[0] or not row[1]):
            raise DocumentError(
                f"--glossary {path}: line {number} is {','.join(row)[:80]!r}; "
                "expected source,translation"
            )
    return [Pair(row[0], row[1]) for row in rows if row]
