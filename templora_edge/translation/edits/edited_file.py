"""A file that a person edited, whatever its format, as changes to a job."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from templora_edge.documents import read_document
from templora_edge.documents.document import Document
from templora_edge.errors import DocumentError, OptionError
from templora_edge.translation.answers import Languages
from templora_edge.translation.edits.edited_document import document_edits
from templora_edge.translation.edits.edits import Edits, edits_of
from templora_edge.translation.exchange import SUFFIXES, is_exchange, read_exchange
from templora_edge.translation.run import assemble
from templora_edge.translation.store.segment_row import SegmentRow

FLAG = "--edited"


def read_edits(
    path: Path,
    document: Document,
    rows: Sequence[SegmentRow],
    languages: Languages,
    suffix: str,
) -> Edits:
    """Read the edits in ``path``: XLIFF, TMX, or the translated document itself.

    Args:
        path: the file.
        document: the source document.
        rows: segments of the job.
        languages: languages of the job.
        suffix: suffix of the translated document.

    Raises:
        OptionError: the file is of another format.
        DocumentError: the file cannot be read, or nothing in it is of the job.
    """
    if is_exchange(path):
        segments = read_exchange(path, FLAG, languages.source, languages.target)
        edits = edits_of(segments, rows)
        found = f"{len(segments)} segments"
    elif path.suffix.lower() == suffix.lower():
        paragraphs = list(document.paragraphs)
        after = list(read_document(path, languages.target).paragraphs)
        before = _before(document, assemble(paragraphs, rows), languages, suffix)
        edits = document_edits(paragraphs, rows, before, after)
        found = f"{len(after)} paragraphs"
    else:
        raise OptionError(f"{FLAG} {path}: expected {', '.join(SUFFIXES)} or {suffix}")
    if not edits.rows and not edits.unchanged:
        raise DocumentError(
            f"{FLAG} {path}: none of its {found} is in the job; expected a file that was made from "
            "it"
        )
    return edits


def _before(
    document: Document, translations: Sequence[str], languages: Languages, suffix: str
) -> list[str]:
    """Paragraphs of the translated document as the job would write it now."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"before{suffix}"
        document.write(path, translations, language=languages.target)
        return list(read_document(path, languages.target).paragraphs)
