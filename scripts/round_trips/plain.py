"""Text, Markdown, subtitles and HTML: their characters."""

import re
from pathlib import Path
from typing import Final

from templora_edge.host.text_file import decode

_LANGUAGE: Final = re.compile(r"""\s(?:xml:)?lang=("[^"]*"|'[^']*'|[^\s>]*)""")
_BOM: Final = "\ufeff"


def differences(before: Path, after: Path) -> list[str]:
    """The name of the file if its text differs but for encoding, language and runs of spaces."""
    old, new = (_text(path) for path in (before, after))
    return [] if old == new else [before.name]


def _text(path: Path) -> str:
    text = decode(path.read_bytes(), str(path)).removeprefix(_BOM)
    return re.sub(r"[ \t]+", " ", _LANGUAGE.sub("", text) if "htm" in path.suffix else text)
