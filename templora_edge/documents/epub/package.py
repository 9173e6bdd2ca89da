"""The package file (OPF) of a book: its titles, languages, and the order of its files."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lxml.etree import _Element

from templora_edge.documents.direction import is_rtl
from templora_edge.documents.html.inline import contents
from templora_edge.documents.html.language import primary, set_language
from templora_edge.documents.html.passage import Passage
from templora_edge.documents.html.text_tree import replace_texts
from templora_edge.documents.xml_file import XmlFile
from templora_edge.errors import DocumentError

DESCRIPTIONS: Final = "descriptions with markup"
_DC: Final = "{http://purl.org/dc/elements/1.1/}"


@dataclass(frozen=True, slots=True)
class Item:
    """A file that the manifest names."""

    href: str
    media_type: str
    """Media type in lower case, without parameters."""
    in_spine: bool
    is_ncx: bool


class Package:
    """A package file.

    Args:
        name: Name of the file, for messages.
        source: BCP 47 tag of the language that is translated from, if known.

    Raises:
        DocumentError: It is no XML.
    """

    def __init__(self, data: bytes, name: str, source: str = "") -> None:
        self._data, self._name = data, name
        self._file = XmlFile(data, name)
        root = self._file.root
        self._tags = [one for one in root.iter(f"{_DC}language") if (one.text or "").strip()]
        self.language = (self._tags[0].text or "").strip() if self._tags else ""
        """The book's main language; empty if none is named."""
        self._languages = frozenset({primary(self.language), primary(source)} - {""})
        texts = [*root.iter(f"{_DC}title"), *root.iter(f"{_DC}description")]
        passages = [Passage(one, 0, contents(one), separator=" / ") for one in texts]
        # a description may be escaped HTML
        self._passages = [one for one in passages if one.text and "</" not in one.text]
        self.skipped = Counter(DESCRIPTIONS for one in passages if "</" in one.text)
        """See `Document.skipped`."""

    @property
    def paragraphs(self) -> list[str]:
        """The book's titles and its description."""
        return [passage.text for passage in self._passages]

    def items(self) -> Iterator[Item]:
        """Files in the order of the spine, then all others.

        Raises:
            DocumentError: There is no spine.
        """
        root = self._file.root
        items = {item.get("id"): item for item in root.iterfind("{*}manifest/{*}item")}
        spine = root.find("{*}spine")
        if spine is None or not len(spine):
            raise DocumentError(f"{self._name}: no spine; expected the order of the chapters")
        order = dict.fromkeys(one.get("idref") for one in spine.iterfind("{*}itemref"))
        for key in order | dict.fromkeys(items):
            if (item := items.get(key)) is not None:
                media_type = (item.get("media-type") or "").split(";")[0].strip().lower()
                is_ncx = key == spine.get("toc")
                yield Item(item.get("href") or "", media_type, key in order, is_ncx)

    def translated(self, translations: Sequence[str], *, language: str, bilingual: bool) -> bytes:
        """The file with titles translated, its main language ``language``; further ones stay.

        This uses up its tree, so it can be called once.
        """
        changed = replace_texts(self._passages, translations, bilingual=bilingual)
        changed |= self._set_languages(language)
        changed |= set_language(self._file.root, language, self._languages)
        spine = self._file.root.find("{*}spine")
        if spine is not None and is_rtl(language) != is_rtl(primary(self.language)):
            direction = "rtl" if is_rtl(language) else "ltr"
            changed |= spine.get("page-progression-direction") != direction
            spine.set("page-progression-direction", direction)
            if self._file.root.get("version", "").startswith("2"):  # which has no such attribute
                del spine.attrib["page-progression-direction"]
        return self._file.to_bytes() if changed else self._data

    def _set_languages(self, language: str) -> bool:
        changed = False
        kept: set[str] = set()
        for tag in self._tags:
            named = (tag.text or "").strip()
            if primary(named) in self._languages and named != language:
                tag.text, named, changed = language, language, True
            if named in kept and tag.get("id") is None:
                _remove(tag)
            kept.add(named)
        return changed


def _remove(element: _Element) -> None:
    parent = element.getparent()
    if parent is not None:
        element.tail = None
        parent.remove(element)
