"""Subtitles: SubRip, WebVTT, and SubStation Alpha in both of its versions.

Libraries for subtitles read cues and write new files: they renumber cues and lose positions,
styles, comments, blank lines and odd timings. Here the text of each cue is replaced, and all else
stays.
"""

from templora_edge.documents.subtitles.ass import AssDocument
from templora_edge.documents.subtitles.srt import SrtDocument
from templora_edge.documents.subtitles.vtt import VttDocument

__all__ = ["AssDocument", "SrtDocument", "VttDocument"]
