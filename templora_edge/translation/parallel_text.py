"""Existing translations, such as earlier volumes or a translation memory, as pairs."""

import csv
import json
from pathlib import Path
from typing import Any

from templora_edge.errors import DocumentError
from templora_edge.host.text_file import read_text
from templora_edge.translation.exchange import State, is_exchange, read_exchange
from templora_edge.translation.glossary.pair_table import read_table
from templora_edge.translation.prompt import Pair


def read_bitext(
    path: Path, source_language: str, target_language: str, flag: str = "--references"
) -> list[Pair]:
    """Read the pairs of an XLIFF, TMX or .jsonl file or of a table (see `read_table`), in order.

    A JSON line is an object with the keys ``source`` and ``target``, ``src`` and ``tgt``, or the
    codes of both languages. Segments of XLIFF and TMX that are marked as flagged or as not
    translated are left out.

    Raises:
        DocumentError: the file cannot be read, or a line is not a pair.
    """
    try:
        if is_exchange(path):
            pairs = [
                _pair(segment.source, segment.translation)
                for segment in read_exchange(path, flag, source_language, target_language)
                if segment.translation is not None and segment.state != State.INITIAL
            ]
        elif path.suffix.lower() == ".jsonl":
            pairs = _read_jsonl(path, flag, source_language, target_language)
        else:
            pairs = _read_table(path, flag, source_language, target_language)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DocumentError(f"{flag} {path}: cannot be read ({error})") from error
    if not pairs:
        raise DocumentError(f"{flag} {path}: empty; expected pairs of texts")
    return pairs


def _read_jsonl(path: Path, flag: str, source_language: str, target_language: str) -> list[Pair]:
    keys = (
        ("source", "src", source_language),
        ("target", "tgt", "translation", target_language),
    )
    pairs = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry: Any = json.loads(line)
        except json.JSONDecodeError as error:
            raise DocumentError(f"{flag} {path}: line {number}: {error}") from error
        texts = [
            entry[key]
            for names in keys
            for key in names
            if isinstance(entry, dict) and isinstance(entry.get(key), str)
        ]
        if len(texts) != len(keys):
            raise DocumentError(
                f"{flag} {path}: line {number}: expected an object with source and target, "
                f"or {source_language} and {target_language}"
            )
        pairs.append(_pair(*texts))
    return pairs


def _read_table(path: Path, flag: str, source_language: str, target_language: str) -> list[Pair]:
    pairs = []
    for row in read_table(read_text(path), source_language, target_language):
        if not row.pair.source or not row.pair.translation:
            raise DocumentError(
                f"{flag} {path}: line {row.line} is not a pair; expected source, tab, translation"
            )
        pairs.append(_pair(row.pair.source, row.pair.translation))
    return pairs


def _pair(source: str, translation: str) -> Pair:
    """A pair with each text on one line, as segments are."""
    return Pair(" ".join(source.split()), " ".join(translation.split()))
