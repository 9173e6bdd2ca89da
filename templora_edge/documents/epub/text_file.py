"""The text of one XML file of a book: XHTML, SVG, or the table of contents of EPUB 2 (NCX)."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lxml.etree import _Element

from templora_edge.documents.html.inline import contents, local_name
from templora_edge.documents.html.language import languages_in, set_language
from templora_edge.documents.html.passage import Passage
from templora_edge.documents.html.passages import Reader, Translatable
from templora_edge.documents.html.text_tree import replace_texts
from templora_edge.documents.xml_file import XmlFile


@dataclass(frozen=True, slots=True)
class Kind:
    """How the files of a format are read."""

    passages: Callable[[Reader, _Element], Iterator[Translatable]]
    """Returns the passages of a root, in reading order."""
    is_html: bool


class TextFile:
    """A file of a book that contains text.

    Args:
        name: Name of the file, for messages.
        languages: BCP 47 tags, of the book's main language and of the one translated from.

    Raises:
        DocumentError: `XmlFile` cannot read it.
    """

    def __init__(self, data: bytes, name: str, kind: Kind, *languages: str) -> None:
        self._data = data
        self._file = XmlFile(data, name, is_html=kind.is_html)
        self._languages = languages_in(self._file.root, *languages)
        reader = Reader(self._languages)
        self._passages = list(kind.passages(reader, self._file.root))
        self.skipped: Counter[str] = reader.skipped
        """See `Reader.skipped`."""

    @property
    def paragraphs(self) -> list[str]:
        """The texts to translate, in reading order."""
        return [passage.text for passage in self._passages]

    def translated(self, translations: Sequence[str], *, language: str, bilingual: bool) -> bytes:
        """The file with ``translations``. This uses up its tree, so it can be called once.

        If nothing changes, these are the very bytes that were read.
        """
        changed = replace_texts(self._passages, translations, bilingual=bilingual)
        renamed = set_language(self._file.root, language, self._languages)
        return self._file.to_bytes() if renamed or changed else self._data


def _labels(_: Reader, root: _Element) -> Iterator[Translatable]:
    """All labels but page numbers (NCX, ANSI/NISO Z39.86-2005, section 8)."""
    for label in root.iter("{*}docTitle", "{*}navLabel"):
        parent = label.getparent()
        if parent is not None and local_name(parent) != "pageTarget":
            for text in label.findall("{*}text"):
                passage = Passage(text, 0, contents(text), separator=" / ")
                if passage.text:
                    yield passage


XHTML: Final = Kind(Reader.read, is_html=True)
SVG: Final = Kind(Reader.read, is_html=False)
DTBOOK: Final = Kind(Reader.read, is_html=False)
NCX: Final = Kind(_labels, is_html=False)
