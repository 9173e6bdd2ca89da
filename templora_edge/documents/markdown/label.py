"""Texts that stand by themselves in markup: alternative texts of images, and titles."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from templora_edge.documents import markup
from templora_edge.documents.document import has_letters
from templora_edge.documents.xml_file import ILLEGAL

SPECIAL: Final = re.compile(
    r"[\\`*\[\]~]|(?<![^\W_])_|_(?![^\W_])|<(?=[A-Za-z/!?>]|$)|&(?=[#A-Za-z]|$)|!$|#+$"
)
"""Characters that can be markup anywhere in a text."""
_WHITE: Final = re.compile(r"\s+")


def without_formulas(escaped: str) -> str:
    """``escaped`` text with references for what could make a formula."""
    return escaped.replace("\\[", "&#91;").replace("$", "&#36;")


@dataclass(frozen=True)
class PlainText:
    """Text without markup."""

    original: str

    @cached_property
    def _read(self) -> tuple[str, dict[int, str]]:
        paragraph = markup.Paragraph()
        literals = dict(paragraph.add_text(_WHITE.sub(" ", self.original).strip()))
        return paragraph.text, literals

    @property
    def text(self) -> str:
        """As in `Document.paragraphs`; empty if there are no letters."""
        text, _ = self._read
        return text if has_letters(markup.plain(text)) else ""

    def translated(self, translation: str, *, bilingual: bool) -> str:
        """The new text, in one line; if ``bilingual``, the source and the translation."""
        for number, literal in self._read[1].items():
            translation = translation.replace(f"<{number}/>", literal)
        text = _WHITE.sub(" ", ILLEGAL.sub("", translation)).strip()
        return f"{self.original} / {text}" if bilingual else text


@dataclass(frozen=True)
class Label:
    """A text in inline markup."""

    source: str
    """What stands in the source, with the marks around it."""
    plain: PlainText
    value: int
    """Index of its value in the markup's atom."""
    atom: int = 0

    def written(self, text: str) -> tuple[str, str]:
        """The source of ``text``, and the value it is read as."""
        if self.source.startswith("!"):
            escaped = without_formulas(SPECIAL.sub(r"\\\g<0>", text))
            return f"![{escaped}]", escaped
        return f" {quoted(text)})", text


@dataclass(frozen=True, slots=True)
class PlacedText:
    """A text on one line of the file that is not part of any paragraph."""

    line: int
    begin: int
    end: int
    """Columns."""
    plain: PlainText
    write: Callable[[str], str]
    """Text -> its source."""


def quoted(title: str) -> str:
    """``title`` as the title of a link."""
    return '"' + re.sub(r'[\\"]|&(?=[#A-Za-z])', r"\\\g<0>", title) + '"'
