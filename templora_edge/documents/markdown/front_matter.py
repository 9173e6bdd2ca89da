"""Metadata before the text: titles and descriptions are translated, all else stays."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from templora_edge.documents.markdown.label import PlacedText, PlainText

_ENDS: Final = {"---": ("---", "..."), "+++": ("+++",)}
"""First lines of YAML and TOML -> their last lines."""
_KEY: Final = r"(?P<quote>[\"']?)(?:title|description|summary|subtitle)(?P=quote)[ \t]*"
_YAML: Final = re.compile(
    rf"{_KEY}:[ \t]+(?P<value>\"(?:[^\"\\]|\\.)*\"|'(?:[^']|'')*'|[^\s\"'#&*!|>%@`\[\]{{}}?:,-].*?)"
    r"(?:[ \t]+#.*)?\s*$",
    re.IGNORECASE,
)
_TOML: Final = re.compile(
    rf"{_KEY}=[ \t]*(?P<value>\"(?:[^\"\\]|\\.)*\"|'[^']*')[ \t]*(?:#.*)?\s*$", re.IGNORECASE
)
_UNSAFE: Final = re.compile(
    r"[\s\"'#&*!|>%@`\[\]{}?:,-]|.*(?::(?:\s|$)|\s#)|[\d.+~]|(?:true|false|yes|no|on|off|null)$",
    re.IGNORECASE,
)
"""Text that YAML would not take for the same text without quotes."""


def n_lines(lines: Sequence[str]) -> int:
    """Number of lines of metadata before the text; a thematic break has a blank line after it.

    mdit-py-plugins' rule knows no TOML, and takes a text between two thematic breaks for metadata.
    """
    ends = _ENDS.get(lines[0].rstrip())
    if ends and len(lines) > 1 and lines[1].strip():
        for index, line in enumerate(lines[1:], 1):
            if line.rstrip() in ends:
                return index + 1
    return 0


def texts(lines: Sequence[str]) -> Iterator[PlacedText]:
    """What is translated of the metadata ``lines``: values that stand on one line."""
    if not lines:
        return
    is_toml = lines[0].startswith("+")
    pattern = _TOML if is_toml else _YAML
    for number in range(1, len(lines) - 1):
        found = pattern.match(lines[number])
        if not found or (lines[number + 1][:1].isspace() and lines[number + 1].strip()):
            continue
        value = found["value"]
        text = _read(value, is_toml=is_toml)
        if text is not None and PlainText(text).text:
            begin, end = found.span("value")
            yield PlacedText(number, begin, end, PlainText(text), _writer(value, is_toml=is_toml))


def _read(value: str, *, is_toml: bool) -> str | None:
    """The text of ``value``; None if it has escapes that are not JSON's too."""
    if value.startswith('"'):
        try:
            return str(json.loads(value))
        except ValueError:
            return None
    if value.startswith("'"):
        return value[1:-1] if is_toml else value[1:-1].replace("''", "'")
    return value


def _writer(value: str, *, is_toml: bool) -> Callable[[str], str]:
    """Writes a text with the quotes of ``value`` if they can hold it."""

    def written(text: str) -> str:
        if value.startswith("'") and not (is_toml and "'" in text):
            return "'" + text.replace("'", "''") + "'"
        if value.startswith(("'", '"')) or not text or _UNSAFE.match(text):
            return json.dumps(text, ensure_ascii=False)
        return text

    return written
