"""Word documents: which parts of the package hold text; everything else is kept as it is."""

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import docx
from docx.document import Document as Package
from docx.opc.constants import CONTENT_TYPE as CT
from docx.opc.part import PartFactory, XmlPart
from docx.oxml.ns import qn
from docx.oxml.parser import OxmlElement
from lxml import etree

from templora_edge.documents.archive import open_archive
from templora_edge.documents.direction import is_rtl
from templora_edge.documents.document import Document, has_letters
from templora_edge.documents.docx.alt_text import AltText
from templora_edge.documents.docx.direction import set_direction
from templora_edge.documents.docx.paragraph import DocxParagraph, set_language
from templora_edge.documents.markup import plain
from templora_edge.errors import DocumentError

TEXT_PARTS: Final = (
    CT.WML_DOCUMENT_MAIN,
    CT.WML_FOOTNOTES,
    CT.WML_ENDNOTES,
    CT.WML_HEADER,
    CT.WML_FOOTER,
    CT.WML_COMMENTS,
)
"""Content types of the parts with text, in reading order."""
_RELATIONS: Final = "_rels/.rels"
_OLE: Final = bytes.fromhex("d0cf11e0a1b11ae1")
_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")
_COMPATIBILITY: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"

for _content_type in (CT.WML_FOOTNOTES, CT.WML_ENDNOTES):  # which python-docx leaves unparsed
    PartFactory.part_type_for.setdefault(_content_type, XmlPart)


class DocxDocument(Document):
    """A .docx file: its body, notes, headers and footers, with tables and text boxes in them.

    Raises:
        DocumentError: It is not a Word document, encrypted, damaged, unsafe to unpack, or empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._data = path.read_bytes()
        except OSError as error:
            raise DocumentError(f"{path}: cannot be read ({error.strerror})") from error
        _check_package(path, self._data)
        found = list(_paragraphs(self._open()))
        texts = {index: paragraph.text for index, paragraph in found}
        if not texts:
            raise DocumentError(f"{path}: empty; expected some text to translate")
        self._texts = tuple(texts.values())
        self._titles = {plain(text): index for index, text in reversed([*enumerate(self._texts)])}
        self._skipped = sum((paragraph.skipped for _, paragraph in found), Counter[str]())

    @property
    def paragraphs(self) -> Sequence[str]:
        """Texts of body, notes, headers, footers and comments; see `Document.paragraphs`."""
        return self._texts

    @property
    def skipped(self) -> Mapping[str, int]:
        """Computed fields, deletions and equations in paragraphs; see `Document.skipped`."""
        return self._skipped

    def write(
        self, path: Path, translations: Sequence[str], *, language: str, bilingual: bool = False
    ) -> None:
        """Write the document; see `Document.write`. In a bilingual one, translations are tagged."""
        package = self._open()
        for index, paragraph in list(_paragraphs(package)):
            paragraph.write(translations[index], language=language, bilingual=bilingual)
        if not bilingual:
            _set_language(package, language)
            _set_direction(package, language)
            for title in _titles(package):
                if title.text in self._titles:
                    title.text = plain(translations[self._titles[title.text]])
        package.save(str(path))

    def _open(self) -> Package:
        try:
            package = docx.Document(io.BytesIO(self._data))
        except Exception as error:  # of any class, where python-docx meets what it does not expect
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DocumentError(
                f"{self._path}: damaged ({reason}); open it in a word processor and save it again"
            ) from error
        for part in _xml_parts(package):
            if part.element.getroottree().docinfo.internalDTD is not None:
                raise DocumentError(
                    f"{self._path}: {part.partname} has a DTD, whose entities can reach other "
                    "files; expected none; save it again in a word processor"
                )
        return package


def _check_package(path: Path, data: bytes) -> None:
    """Refuse anything that is not a package that python-docx can safely unpack."""
    if data.startswith(_OLE):
        if _ENCRYPTED in data:
            raise DocumentError(f"{path}: encrypted; remove its password in a word processor first")
        raise DocumentError(f"{path}: an old Word document (.doc); save it as .docx first")
    with open_archive(path, "a Word document (.docx)") as archive:
        if _RELATIONS not in archive.namelist():
            raise DocumentError(f"{path}: no {_RELATIONS} in it; expected a Word document (.docx)")
        relations = archive.read(_RELATIONS)
    if b"http://purl.oclc.org/ooxml/" in relations:
        raise DocumentError(f"{path}: Strict Open XML; save it as an ordinary Word document first")


def _xml_parts(package: Package) -> list[XmlPart]:
    return [part for part in package.part.package.parts if isinstance(part, XmlPart)]


def _paragraphs(package: Package) -> Iterator[tuple[int, DocxParagraph | AltText]]:
    """Paragraphs with letters, each with the index of its text.

    A text box can be there twice, for word processors old and new (ECMA-376, part 3, 7.6); the
    text of its paragraphs counts once.
    """
    n_texts = 0
    numbers: dict[tuple[etree._Element | str, ...], int] = {}
    parts = [part for part in _xml_parts(package) if part.content_type in TEXT_PARTS]
    for part in sorted(parts, key=lambda part: TEXT_PARTS.index(part.content_type)):
        for paragraph in _all_paragraphs(part.element):
            if not has_letters(paragraph.text):
                continue
            outer = [*paragraph.element.iterancestors(f"{_COMPATIBILITY}AlternateContent")][-1:]
            number = numbers.setdefault((*outer, paragraph.text), n_texts) if outer else n_texts
            yield number, paragraph
            n_texts += number == n_texts


def _titles(package: Package) -> Iterator[etree._Element]:
    """The title in the properties; core_properties would add some to a package without."""
    for part in _xml_parts(package):
        if part.content_type == CT.OPC_CORE_PROPERTIES:
            yield from part.element.iter(qn("dc:title"))


def _all_paragraphs(root: etree._Element) -> Iterator[DocxParagraph | AltText]:
    """The paragraphs under ``root``, and the descriptions of pictures."""
    for element in root.iter(qn("w:p"), qn("wp:docPr")):
        if element.tag == qn("w:p"):
            yield DocxParagraph(element)
        else:
            yield from (AltText(element, name) for name in ("title", "descr"))


def _set_direction(package: Package, language: str) -> None:
    """Have text, tables and columns go in the direction of ``language``."""
    for part in _xml_parts(package):
        if part.content_type in TEXT_PARTS:
            set_direction(part.element, rtl=is_rtl(language))
        elif part.content_type == CT.WML_STYLES:  # which would turn what has none of its own
            set_direction(part.element, rtl=False)


def _set_language(package: Package, language: str) -> None:
    """Set the language of the whole package."""
    for part in _xml_parts(package):
        if part.content_type == CT.WML_STYLES:
            defaults = part.element
            for name in ("docDefaults", "rPrDefault", "rPr", "lang"):
                child = defaults.find(qn(f"w:{name}"))
                if child is None:
                    child = OxmlElement(f"w:{name}")
                    defaults.insert(0, child)
                defaults = child
        if part.content_type in (*TEXT_PARTS, CT.WML_STYLES):
            for element in part.element.iter(qn("w:lang")):
                set_language(element, language)
        if part.content_type == CT.OPC_CORE_PROPERTIES:
            for element in part.element.iter(qn("dc:language")):
                element.text = language
