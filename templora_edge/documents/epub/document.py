"""EPUB 2 and 3: the archive, and which of its files contain text."""

import posixpath
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from templora_edge.documents.archive import open_archive
from templora_edge.documents.document import Document
from templora_edge.documents.epub.xhtml import NCX, XHTML, BookFile, Kind
from templora_edge.documents.xml_file import XmlFile
from templora_edge.errors import DocumentError

MAX_TEXT: Final = 32 << 20
"""Largest XML file, in bytes; its tree takes ten times as many. The Bible has 5 MB."""

_TYPE: Final = b"application/epub+zip"
_CONTAINER: Final = "META-INF/container.xml"
_ENCRYPTION: Final = "META-INF/encryption.xml"
_OPF: Final = "application/oebps-package+xml"
_KINDS: Final = {
    "application/xhtml+xml": XHTML,
    "text/html": XHTML,
    "text/x-oeb1-document": XHTML,
    "application/x-dtbncx+xml": NCX,
}
_OBFUSCATIONS: Final = frozenset(
    ["http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"]
)
"""Algorithms that encrypt fonts alone (EPUB 3.3, font obfuscation, and Adobe's forerunner)."""
_DRM: Final = {
    "META-INF/rights.xml": "as Adobe's",
    "META-INF/sinf.xml": "as Apple's",
    "META-INF/license.lcpl": "as Readium's LCP",
}


class EpubDocument(Document):
    """An .epub file, which stays open.

    Raises:
        DocumentError: It is not an EPUB, damaged, encrypted, unsafe, or without text.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._archive = open_archive(path, "an EPUB")
        self._names = frozenset(self._archive.namelist())
        self._check_type()
        self._check_drm()
        self._packages = self._find_packages()
        self._kinds = dict(self._find_texts())
        self._counts: dict[str, int] = {}
        self._paragraphs: list[str] = []
        for name in self._kinds:
            found = self._text_file(name).paragraphs
            self._counts[name] = len(found)
            self._paragraphs += found
        if not self._paragraphs:
            raise self._error("nothing to translate; expected chapters with text")

    @property
    def paragraphs(self) -> Sequence[str]:
        """The texts of the spine, then tables of contents; see `Document.paragraphs`."""
        return self._paragraphs

    def write(
        self, path: Path, translations: Sequence[str], *, language: str, bilingual: bool = False
    ) -> None:
        """Write the book, files without text as they are; see `Document.write`."""
        left = iter(translations)
        changed = {
            name: self._text_file(name).translated(
                list(islice(left, count)), language=language, bilingual=bilingual
            )
            for name, count in self._counts.items()
        }
        changed |= {name: self._package_in(name, language) for name in self._packages}
        members = sorted(self._archive.infolist(), key=lambda member: member.filename != "mimetype")
        with zipfile.ZipFile(path, "w") as archive:
            archive.comment = self._archive.comment
            for member in members:
                copy = zipfile.ZipInfo(member.filename, member.date_time)
                copy.compress_type = member.compress_type
                if member.filename == "mimetype":
                    copy.compress_type = zipfile.ZIP_STORED
                copy.external_attr = member.external_attr
                copy.comment = member.comment
                if member.filename in changed:
                    archive.writestr(copy, changed[member.filename])
                    continue
                copy.file_size = member.file_size  # whether zip64 is needed
                with self._archive.open(member) as source, archive.open(copy, "w") as target:
                    shutil.copyfileobj(source, target)

    def _check_type(self) -> None:
        if _CONTAINER not in self._names:
            raise self._error(f"a zip archive without {_CONTAINER}; expected an EPUB")
        found = self._read("mimetype").strip() if "mimetype" in self._names else b""
        if found != _TYPE:
            raise self._error(
                f"its mimetype is {found[:40].decode(errors='replace')!r}; expected an EPUB, "
                f"{_TYPE.decode()!r}"
            )

    def _check_drm(self) -> None:
        signs = (f"{name}, {whose}" for name, whose in _DRM.items() if name in self._names)
        what = next(signs, None)
        if what is None and _ENCRYPTION in self._names:
            methods = self._xml(_ENCRYPTION).root.iter("{*}EncryptionMethod")
            algorithms = {method.get("Algorithm") or "?" for method in methods} - _OBFUSCATIONS
            if algorithms:
                what = f"{_ENCRYPTION}, {min(algorithms)}"
        if what is not None:
            raise self._error(f"protected by DRM ({what}); expected an EPUB without it")

    def _find_packages(self) -> list[str]:
        """The names of the OPF files, one for each rendition."""
        names = [
            unquote(root.get("full-path") or "")
            for root in self._xml(_CONTAINER).root.iter("{*}rootfile")
            if root.get("media-type") == _OPF
        ]
        found = [name for name in names if name in self._names]
        if not found:
            raise self._error(
                f"no package file (OPF) at the path that {_CONTAINER} names; get another copy"
            )
        return found

    def _find_texts(self) -> Iterator[tuple[str, Kind]]:
        """Names and kinds of files with text: the spine, then pop-ups and tables of contents."""
        for package in self._packages:
            root = self._xml(package).root
            items = {item.get("id"): item for item in root.iterfind("{*}manifest/{*}item")}
            spine = root.find("{*}spine")
            if spine is None or not len(spine):
                raise self._error(f"no spine in {package}; expected the order of its chapters")
            order = [reference.get("idref") for reference in spine.iterfind("{*}itemref")]
            for key in dict.fromkeys([*order, *items]):
                if (item := items.get(key)) is None:
                    continue
                media_type = item.get("media-type") or ""
                kind = NCX if key == spine.get("toc") else _KINDS.get(media_type)
                name = self._find(package, item.get("href") or "")
                if kind and name and self._read(name).strip():
                    yield name, kind

    def _find(self, package: str, href: str) -> str | None:
        """The name of the file at ``href``, which some books do not percent-encode."""
        folder = posixpath.dirname(package)
        paths = (posixpath.join(folder, path) for path in (unquote(href), href))
        return next((name for name in map(posixpath.normpath, paths) if name in self._names), None)

    def _package_in(self, name: str, language: str) -> bytes:
        """The OPF file with ``language`` for the book's main one; its further languages stay."""
        package = self._xml(name)
        found = next(package.root.iter("{http://purl.org/dc/elements/1.1/}language"), None)
        if found is None or (found.text or "").strip() == language:
            return self._read(name)
        found.text = language
        return package.to_bytes()

    def _text_file(self, name: str) -> BookFile:
        return BookFile(self._read(name), f"{self._path}, {name}", self._kinds[name])

    def _xml(self, name: str) -> XmlFile:
        return XmlFile(self._read(name), f"{self._path}, {name}")

    def _read(self, name: str) -> bytes:
        if self._archive.getinfo(name).file_size > MAX_TEXT:
            raise self._error(f"{name} has more than {MAX_TEXT >> 20} MiB; split it")
        return self._archive.read(name)

    def _error(self, what: str) -> DocumentError:
        return DocumentError(f"{self._path}: {what}")
