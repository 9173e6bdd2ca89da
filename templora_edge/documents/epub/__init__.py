"""EPUB books."""

from templora_edge.documents.epub.document import EpubDocument

__all__ = ["EpubDocument"]
