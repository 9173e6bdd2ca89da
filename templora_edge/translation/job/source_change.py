"""What a changed source keeps of a job's segments.

A segment is kept, with its id, translation, flags and origin, where its text is still there: in the
same order as before, or moved as a text that is there once.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import takewhile

from templora_edge.translation.store.segment_row import SegmentRow


def revised(rows: Sequence[SegmentRow], segments: Sequence[tuple[int, str]]) -> list[SegmentRow]:
    """The rows of ``segments``, (paragraph, source) each: those of ``rows`` that stay, or new ones.

    Args:
        rows: segments of the source as it was, in reading order.
        segments: segments of the source as it is.
    """
    old = [row.source for row in rows]
    new = [source for _, source in segments]
    # the matcher begins with the longest match, which may leave a repeated beginning out
    begin = _n_common(old, new)
    kept = dict(enumerate(rows[:begin]))  # index in segments -> its row
    matcher = SequenceMatcher(None, old[begin:], new[begin:], autojunk=False)
    for block in matcher.get_matching_blocks():
        kept |= {begin + block.b + i: rows[begin + block.a + i] for i in range(block.size)}
    stayed = {row.id for row in kept.values()}
    left = [row for row in rows if row.id not in stayed]
    n_old = Counter(row.source for row in left)
    n_new = Counter(source for index, source in enumerate(new) if index not in kept)
    moved = {row.source: row for row in left if n_old[row.source] == n_new[row.source] == 1}
    return [
        replace(row, position=index + 1, paragraph=paragraph)
        if (row := kept.get(index) or moved.get(source)) is not None
        else SegmentRow.new(index + 1, paragraph, source)
        for index, (paragraph, source) in enumerate(segments)
    ]


def _n_common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many texts at the beginning are the same."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
