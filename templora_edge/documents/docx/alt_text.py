"""Descriptions of pictures, for those who cannot see them (ECMA-376, part 1, 20.4.2.5)."""

import re
from collections import Counter
from typing import Final

from lxml import etree

from templora_edge.documents import markup
from templora_edge.documents.xml_file import ILLEGAL

_FILE_NAME: Final = re.compile(r"\S*[\\/]\S+|\S+\.\w{2,5}|(?i:https?:\S+)")


class AltText:
    """An attribute of a picture (wp:docPr) as a paragraph; the name of a file is none."""

    def __init__(self, element: etree._Element, attribute: str) -> None:
        self.element = element
        self._attribute = attribute
        self._source = " ".join(str(element.get(attribute, "")).split())
        text = markup.Paragraph()
        if not _FILE_NAME.fullmatch(self._source):
            self._literals = dict(text.add_text(self._source))
        self.text: Final = text.text
        self.skipped: Final = Counter[str]()

    def write(self, translation: str, *, language: str, bilingual: bool) -> None:  # noqa: ARG002
        """Replace the description by ``translation``, or append it."""
        text = markup.PLACEHOLDER.sub(
            lambda match: self._literals.get(int(match[2]), ""), translation
        )
        lines = [self._source, text] if bilingual else [text]
        self.element.set(self._attribute, ILLEGAL.sub("", "\n".join(lines)))
