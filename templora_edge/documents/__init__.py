"""Documents: paragraphs to translate are taken out, translations put in their place.

`read_document` chooses the format by the suffix. A format's libraries are loaded when it is read.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from templora_edge.documents.document import Document
from templora_edge.errors import DocumentError
from templora_edge.extras import needs_extra


def _text(path: Path, language: str | None) -> Document:
    from templora_edge.documents.text import TextDocument

    return TextDocument(path, language)


def _markdown(path: Path, language: str | None) -> Document:
    from templora_edge.documents.markdown import MarkdownDocument

    return MarkdownDocument(path, language)


def _epub(path: Path, language: str | None) -> Document:
    from templora_edge.documents.epub import EpubDocument

    return EpubDocument(path, language)


def _html(path: Path, language: str | None) -> Document:
    from templora_edge.documents.html.document import HtmlDocument

    return HtmlDocument(path, language)


def _docx(path: Path, language: str | None) -> Document:
    del language  # it is Unicode
    from templora_edge.documents.docx import DocxDocument

    return DocxDocument(path)


def _srt(path: Path, language: str | None) -> Document:
    from templora_edge.documents.subtitles import SrtDocument

    return SrtDocument(path, language)


def _vtt(path: Path, language: str | None) -> Document:
    from templora_edge.documents.subtitles import VttDocument

    return VttDocument(path, language)


def _ass(path: Path, language: str | None) -> Document:
    from templora_edge.documents.subtitles import AssDocument

    return AssDocument(path, language)


FORMATS: Final[dict[str, Callable[[Path, str | None], Document]]] = {
    ".txt": _text,
    ".md": _markdown,
    ".epub": _epub,
    ".html": _html,
    ".htm": _html,
    ".xhtml": _html,
    ".docx": _docx,
    ".srt": _srt,
    ".vtt": _vtt,
    ".ass": _ass,
    ".ssa": _ass,
}
"""Suffix -> reader, which imports the format's module and its libraries."""


def read_document(path: Path, language: str | None = None) -> Document:
    """Read the document at ``path``.

    Args:
        language: BCP 47 tag of its text, if known, for the guess of an old encoding.

    Raises:
        DocumentError: an unknown format, or a document that cannot be translated.
        MissingExtraError: the libraries of its format are not installed.
    """
    reader = FORMATS.get(path.suffix.lower())
    if reader is None:
        raise DocumentError(
            f"{path}: unknown format {path.suffix or '(no suffix)'}; expected {', '.join(FORMATS)}"
        )
    if not path.is_file():
        found = "a directory" if path.is_dir() else "no such file"
        raise DocumentError(f"{path}: {found}; expected a document")
    with needs_extra("documents", str(path)):
        return reader(path, language)
