"""SubRip subtitles."""

from templora_edge.documents.srt.document import SrtDocument

__all__ = ["SrtDocument"]
