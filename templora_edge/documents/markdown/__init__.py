"""Markdown."""

from templora_edge.documents.markdown.document import MarkdownDocument

__all__ = ["MarkdownDocument"]
