"""EPUB 2 and 3: the archive, and which of its files contain text."""

import logging
import posixpath
import re
import shutil
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from templora_edge.documents.archive import open_archive
from templora_edge.documents.document import Document
from templora_edge.documents.epub.package import Package
from templora_edge.documents.epub.text_file import DTBOOK, NCX, SVG, XHTML, Kind, TextFile
from templora_edge.documents.html.inline import local_name
from templora_edge.documents.markup import plain
from templora_edge.documents.xml_file import XmlFile
from templora_edge.errors import DocumentError

_logger = logging.getLogger(__name__)

MAX_TEXT: Final = 32 << 20
"""Largest XML file, in bytes; its tree takes ten times as many. The Bible has 5 MB."""

_TYPE: Final = b"application/epub+zip"
_MIMETYPE: Final = "mimetype"
_CONTAINER: Final = "META-INF/container.xml"
_ENCRYPTION: Final = "META-INF/encryption.xml"
_OPF: Final = "application/oebps-package+xml"
_KINDS: Final = {
    "application/xhtml+xml": XHTML,
    "text/html": XHTML,
    "text/x-oeb1-document": XHTML,
    "application/x-dtbncx+xml": NCX,
    "image/svg+xml": SVG,
}
_BINARY: Final = ("audio/", "font/", "image/", "video/")
_LONGEST_TITLE: Final = 60
"""Characters of a paragraph that is taken for the title of its file."""
_UNREAD: Final = "chapters in an unknown format"
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

    Args:
        language: BCP 47 tag of its text, if known.

    Raises:
        DocumentError: It is not an EPUB, damaged, encrypted, unsafe, or without text.
    """

    def __init__(self, path: Path, language: str | None = None) -> None:
        self._path, self._language = path, language or ""
        self._archive = open_archive(path, "an EPUB")
        self._names = frozenset(self._archive.namelist())
        self._aliases = {_alias(name): name for name in reversed(self._archive.namelist())}
        self._check_type()
        self._check_drm()
        self._skipped: Counter[str] = Counter()
        self._packages = {name: self._package(name).language for name in self._find_packages()}
        self._texts: dict[str, tuple[Kind, str]] = {}
        for package, main in self._packages.items():
            for name, kind in self._find_texts(package):
                self._texts.setdefault(name, (kind, main))
        self._counts: dict[str, int] = {}
        self._paragraphs: list[str] = []
        for name in self._packages:
            titles = self._package(name)
            self._count(name, titles.paragraphs)
            self._skipped += titles.skipped
        n_titles = len(self._paragraphs)
        for name in self._texts:
            text = self._text_file(name)
            self._count(name, text.paragraphs)
            self._skipped += text.skipped
        if len(self._paragraphs) == n_titles:
            raise self._error("nothing to translate; expected chapters with text")

    @property
    def paragraphs(self) -> Sequence[str]:
        """Titles, the texts of the spine, then tables of contents; see `Document.paragraphs`."""
        return self._paragraphs

    @property
    def skipped(self) -> Counter[str]:
        """Code, other languages, chapters that are no text and descriptions with markup.

        See `Document.skipped`.
        """
        return self._skipped

    @property
    def places(self) -> Sequence[str]:
        """The file of each paragraph, and the words at its beginning; see `Document.places`."""
        left = iter(self._paragraphs)
        names: list[str] = []
        for name, count in self._counts.items():
            texts = list(islice(left, count))
            title = plain(texts[0]).partition("\n")[0] if texts else ""
            is_short = name not in self._packages and len(title) <= _LONGEST_TITLE
            file = posixpath.basename(name)
            names += [f"{file}, {title}" if is_short else file] * count
        return names

    def write(
        self, path: Path, translations: Sequence[str], *, language: str, bilingual: bool = False
    ) -> None:
        """Write the book, files without text as they are; see `Document.write`."""
        left = iter(translations)
        changed: dict[str, bytes] = {}
        for name, count in self._counts.items():
            file = self._package(name) if name in self._packages else self._text_file(name)
            changed[name] = file.translated(
                list(islice(left, count)), language=language, bilingual=bilingual
            )
        with zipfile.ZipFile(path, "w") as archive:
            archive.comment = self._archive.comment
            archive.writestr(self._mimetype(), _TYPE)
            for member in self._archive.infolist():
                if member.filename == _MIMETYPE:
                    continue
                copy = zipfile.ZipInfo(member.filename, member.date_time)
                copy.compress_type = member.compress_type
                copy.external_attr = member.external_attr
                copy.comment = member.comment
                if member.filename in changed:
                    archive.writestr(copy, changed[member.filename])
                    continue
                copy.file_size = member.file_size  # whether zip64 is needed
                with self._archive.open(member) as source, archive.open(copy, "w") as target:
                    shutil.copyfileobj(source, target)

    def _mimetype(self) -> zipfile.ZipInfo:
        """The first member, as it was if there is one; it is never compressed."""
        if _MIMETYPE not in self._names:
            return zipfile.ZipInfo(_MIMETYPE)
        member = self._archive.getinfo(_MIMETYPE)
        copy = zipfile.ZipInfo(_MIMETYPE, member.date_time)
        copy.external_attr = member.external_attr
        return copy

    def _check_type(self) -> None:
        if _CONTAINER not in self._names:
            raise self._error(f"a zip archive without {_CONTAINER}; expected an EPUB")
        data = self._read(_MIMETYPE) if _MIMETYPE in self._names else b""
        found = re.sub(rb"[^!-~]", b"", data)  # also without a byte order mark, or that of UTF-16
        if found and found.lower() != _TYPE:
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
        found = [
            name
            for root in self._xml(_CONTAINER).root.iter("{*}rootfile")
            if (name := self._find("", root.get("full-path") or ""))
            and (root.get("media-type") == _OPF or name.lower().endswith(".opf"))
        ]
        if not found:
            raise self._error(
                f"no package file (OPF) at the path that {_CONTAINER} names; get another copy"
            )
        return list(dict.fromkeys(found))

    def _find_texts(self, package: str) -> Iterator[tuple[str, Kind]]:
        """Names and kinds of files with text: the spine, then pop-ups and tables of contents."""
        for item in self._package(package).items():
            name = self._find(package, item.href)
            if not name or not self._read(name).strip():
                continue
            kind = NCX if item.is_ncx else _KINDS.get(item.media_type)
            if kind is SVG and not item.in_spine:
                continue
            if kind is None and item.in_spine and not item.media_type.startswith(_BINARY):
                kind = self._guess(name)
                if kind is None:
                    self._skipped[_UNREAD] += 1
                    _logger.warning(
                        "%s, %s: a chapter of type %s, which is no text that can be translated; "
                        "it stays as it is",
                        self._path,
                        name,
                        item.media_type or "(none)",
                    )
            if kind:
                yield name, kind

    def _guess(self, name: str) -> Kind | None:
        """The kind of a chapter whose media type says nothing, by its root."""
        try:
            root = self._xml(name).root
        except DocumentError:
            start = self._read(name)[:2048].lower()
            return XHTML if b"<html" in start or b"<body" in start else None
        kinds = {"html": XHTML, "body": XHTML, "dtbook": DTBOOK, "svg": SVG}
        return kinds.get(local_name(root).lower())

    def _find(self, package: str, href: str) -> str | None:
        """The name of the file at ``href``, which some books do not encode, or write otherwise."""
        folder = posixpath.dirname(package)
        plain = href.partition("#")[0].replace("\\", "/").strip()
        for path in (unquote(plain), plain, href):
            name = posixpath.normpath(posixpath.join(folder, path).lstrip("/"))
            if name in self._names:
                return name
            if alias := self._aliases.get(_alias(name)):
                return alias
        return None

    def _count(self, name: str, paragraphs: Sequence[str]) -> None:
        self._counts[name] = len(paragraphs)
        self._paragraphs += paragraphs

    def _package(self, name: str) -> Package:
        return Package(self._read(name), f"{self._path}, {name}", self._language)

    def _text_file(self, name: str) -> TextFile:
        kind, language = self._texts[name]
        return TextFile(self._read(name), f"{self._path}, {name}", kind, language, self._language)

    def _xml(self, name: str) -> XmlFile:
        return XmlFile(self._read(name), f"{self._path}, {name}")

    def _read(self, name: str) -> bytes:
        if self._archive.getinfo(name).file_size > MAX_TEXT:
            raise self._error(f"{name} has more than {MAX_TEXT >> 20} MiB; split it")
        return self._archive.read(name)

    def _error(self, what: str) -> DocumentError:
        return DocumentError(f"{self._path}: {what}")


def _alias(name: str) -> str:
    """A key for ``name`` that is the same in other cases and forms of accents."""
    return unicodedata.normalize("NFC", name).casefold()
