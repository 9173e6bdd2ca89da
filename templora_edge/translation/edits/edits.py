"""Translations that a person changed in a file of another tool, matched to segments of a job."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from templora_edge.documents.markup import in_order, plain, renumbered, with_markup_of
from templora_edge.translation.exchange import ExchangedSegment, State
from templora_edge.translation.segmenter import one_line
from templora_edge.translation.store.segment_row import Origin, SegmentRow


@dataclass(frozen=True, slots=True)
class Edits:
    """What a file changes."""

    rows: tuple[SegmentRow, ...]
    """The segments that it changes, as they are now: by a person, without flags."""
    unchanged: int
    """Number of segments that it translates as the job does."""
    unknown: int
    """Number of its segments, or paragraphs, that are not in the job."""


def edits_of(segments: Iterable[ExchangedSegment], rows: Sequence[SegmentRow]) -> Edits:
    """Match the segments of a file to those of a job, by id and source, or else by source.

    A flagged translation that the file has as reviewed or final counts as changed.
    """
    changed = []
    unchanged = unknown = 0
    for row, segment in _matched(segments, rows):
        if row is None:
            unknown += 1
            continue
        text = _translation(segment, row)
        is_confirmed = segment.state in (State.REVIEWED, State.FINAL)
        if text is None:
            continue
        # some tools begin with a copy of the source
        now = row.source if row.translation is None else row.translation
        is_open = bool(row.flags) or row.translation is None
        if text == now and not (is_confirmed and is_open):
            unchanged += 1
        else:
            changed.append(edited(row, text))
    return Edits(tuple(changed), unchanged, unknown)


def edited(row: SegmentRow, text: str) -> SegmentRow:
    """``row`` with the translation of a person; its count of tokens, which ends blocks, stays."""
    return replace(row, translation=text, origin=Origin.EDIT, flags=())


def _translation(segment: ExchangedSegment, row: SegmentRow) -> str | None:
    """The translation of ``segment`` on one line, with exactly the placeholders of ``row``."""
    if segment.translation is None:
        return None
    text = one_line(segment.translation)
    if in_order(_spaced(segment.source)) == in_order(_spaced(row.source)):
        text = renumbered(text, segment.source, row.source)
    return with_markup_of(row.source, text)


def _matched(
    segments: Iterable[ExchangedSegment], rows: Sequence[SegmentRow]
) -> Iterator[tuple[SegmentRow | None, ExchangedSegment]]:
    """Each of ``segments`` with its row; one with several, where it does not say which."""
    by_id = {row.id: row for row in rows}
    left: dict[str, list[ExchangedSegment]] = defaultdict(list)
    for segment in segments:
        row = _named(segment, by_id)
        if row is None:
            left[_words(segment.source)].append(segment)
        else:
            del by_id[row.id]
            yield row, segment
    same: dict[str, list[SegmentRow]] = defaultdict(list)
    for row in by_id.values():
        same[_words(row.source)].append(row)
    for words, some in left.items():
        if not same[words]:
            yield from ((None, segment) for segment in some)
        elif len(some) == 1:  # as memories have it
            yield from ((row, some[0]) for row in same[words])
        else:
            yield from zip(same[words], some, strict=False)


def _named(segment: ExchangedSegment, rows: Mapping[int, SegmentRow]) -> SegmentRow | None:
    """The one of ``rows`` that has the id of ``segment`` and its source."""
    number = re.fullmatch("s([0-9]{1,18})", segment.id or "")
    row = rows.get(int(number[1])) if number else None
    return row if row and _words(row.source) == _words(segment.source) else None


def _words(source: str) -> str:
    return _spaced(plain(source))


def _spaced(text: str) -> str:
    return " ".join(text.split())
