"""Inline markup as placeholders: how they are written, read, and kept through a translation."""

from templora_edge.documents.markup.numbering import in_order, renumbered
from templora_edge.documents.markup.paragraph import Paragraph, shown, whole
from templora_edge.documents.markup.repair import repaired, with_markup_of
from templora_edge.documents.markup.syntax import (
    PLACEHOLDER,
    UNGROUPED,
    Node,
    Single,
    Span,
    closed,
    is_balanced,
    is_kept,
    merged,
    parse,
    plain,
    singles,
    without_spans,
)

__all__ = [
    "PLACEHOLDER",
    "UNGROUPED",
    "Node",
    "Paragraph",
    "Single",
    "Span",
    "closed",
    "in_order",
    "is_balanced",
    "is_kept",
    "merged",
    "parse",
    "plain",
    "renumbered",
    "repaired",
    "shown",
    "singles",
    "whole",
    "with_markup_of",
    "without_spans",
]
