"""Word documents."""

from templora_edge.documents.docx.document import DocxDocument

__all__ = ["DocxDocument"]
