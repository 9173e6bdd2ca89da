"""A translated document that a person corrected: its paragraphs, matched to segments of a job.

What changed is found by comparing the document with what the job would write, read in the same way.
"""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import accumulate, pairwise
from typing import Final

from rapidfuzz import fuzz

from templora_edge.documents.markup import (
    PLACEHOLDER,
    closed,
    in_order,
    plain,
    renumbered,
    repaired,
    with_markup_of,
)
from templora_edge.sentences import sentences
from templora_edge.translation.edits.edits import Edits, edited
from templora_edge.translation.run import assemble
from templora_edge.translation.segmenter import one_line
from templora_edge.translation.store.segment_row import SegmentRow

ALIKE: Final = 50.0
"""Least likeness of a paragraph and what a person made of it, in percent."""
_BAND: Final = 20
"""How far from its place a paragraph is looked for, besides what was inserted or removed."""
_WIDEST_BAND: Final = 200
"""How far it is looked for at most."""
_TOKEN: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|\w+|[^\w\s]")


def document_edits(
    paragraphs: Sequence[str],
    rows: Sequence[SegmentRow],
    before: Sequence[str],
    after: Sequence[str],
) -> Edits:
    """Find the segments whose translation a person changed.

    Args:
        paragraphs: paragraphs of the source.
        rows: segments of the job.
        before: paragraphs of the translated document as the job would write it.
        after: those of the document as a person left it.
    """
    segments: dict[int, list[SegmentRow]] = {}
    for row in rows:
        segments.setdefault(row.paragraph, []).append(row)
    translated = assemble(paragraphs, rows)
    places = dict(_aligned(translated, before))  # the same number, unless a format adds some
    known = {place: number for number, place in places.items()}
    changed: list[SegmentRow] = []
    n_found = 0
    for place, now in _aligned(before, after):
        n_found += 1
        number = known.get(place)
        if number is None or before[place] == after[now] or number not in segments:
            continue
        changed += _changed(
            segments[number], translated[number], paragraphs[number], before[place], after[now]
        )
    unknown = max(len(before), len(after)) - n_found
    return Edits(tuple(changed), len(rows) - len(changed), unknown)


def pieces_of(text: str, pieces: Sequence[str]) -> list[str]:
    """Cut ``text`` where ``pieces`` of its earlier version end, with spans closed in each.

    Cuts go where the words around them went; if these are gone, to a line break, the end of a
    sentence, or as far into the changed words as before.

    Args:
        text: an edited text, properly nested.
        pieces: what it was before, cut.
    """
    tokens = [match.span() for match in _TOKEN.finditer(_blank(text))]
    words = [text[begin:end] for begin, end in tokens]
    old = [_TOKEN.findall(plain(piece)) for piece in pieces]
    matcher = SequenceMatcher(None, [word for one in old for word in one], words, autojunk=False)
    anchors = [(-1, -1)]
    for block in matcher.get_matching_blocks():
        anchors += ((block.a + i, block.b + i) for i in range(block.size))
    anchors.append((sum(map(len, old)), len(words)))
    cuts = [0]
    for boundary in list(accumulate(map(len, old)))[:-1]:
        after = next(i for i, (a, _) in enumerate(anchors) if a >= boundary)
        (a0, b0), (a1, b1) = anchors[after - 1], anchors[after]
        expected = b0 + 1 + (b1 - b0 - 1) * (boundary - a0 - 1) / max(1, a1 - a0 - 1)
        cut = min(
            range(b0 + 1, b1 + 1), key=lambda k: (not _ends_at(text, tokens, k), abs(k - expected))
        )
        cuts.append(max(cuts[-1], _place(text, tokens, cut)))
    return [piece.strip() for piece in closed(list(_slices(text, [*cuts, len(text)])))]


def _changed(
    rows: Sequence[SegmentRow], translated: str, source: str, before: str, after: str
) -> Iterator[SegmentRow]:
    """The segments of a paragraph that differ ``before`` and ``after``."""
    if plain(after) == plain(source):  # it was written before it was translated
        return
    was, now = _numbered_as(translated, before), _numbered_as(translated, after)
    old = [
        row.source if row.translation is None or _was_untranslated(row, now) else row.translation
        for row in rows
    ]
    for row, one, other in zip(rows, pieces_of(was, old), pieces_of(now, old), strict=True):
        text = one_line(other)
        if one != other and text != row.source:
            yield edited(row, with_markup_of(row.source, text))


def _was_untranslated(row: SegmentRow, text: str) -> bool:
    """Whether ``text`` has the source of ``row``, so that it was written before its translation."""
    source, translation = plain(row.source), plain(row.translation or "")
    return source in plain(text) and translation not in plain(text)


def _numbered_as(text: str, other: str) -> str:
    """``other``, a version of ``text``, with exactly the placeholders of ``text``."""
    if PLACEHOLDER.findall(in_order(text)) == PLACEHOLDER.findall(in_order(other)):
        return renumbered(other, other, text)
    return repaired(text, plain(other))


def _aligned(left: Sequence[str], right: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of places, in order in both, of texts that are the same or versions of each other."""
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    for kind, i0, i1, j0, j1 in matcher.get_opcodes():
        if kind in ("equal", "replace") and i1 - i0 == j1 - j0:
            yield from zip(range(i0, i1), range(j0, j1), strict=True)
        elif kind == "replace":
            for i, j in _most_alike(left[i0:i1], right[j0:j1]):
                yield i0 + i, j0 + j


def _most_alike(left: Sequence[str], right: Sequence[str]) -> list[tuple[int, int]]:
    """The pairs of places, in order in both, whose likeness is largest in sum.

    Places are looked for near where they would be if nothing was inserted or removed.
    """
    n, m = len(left), len(right)
    width = min(abs(n - m) + _BAND, _WIDEST_BAND)
    best = [0.0] * (m + 1)  # of what is left of each place, for the rows so far
    together: set[tuple[int, int]] = set()  # where a pair is better than none
    before: set[tuple[int, int]] = set()  # where the row before is as good
    for i in range(n):
        first, last = max(0, i * m // n - width), min(m, i * m // n + width + 1)
        row = best.copy()
        for j in range(first, last):
            pair = best[j] + fuzz.ratio(left[i], right[j], score_cutoff=ALIKE)
            row[j + 1] = max(pair, best[j + 1], row[j])
            if row[j + 1] == best[j + 1]:
                before.add((i, j))
            elif row[j + 1] == pair:
                together.add((i, j))
        row[last:] = [row[last]] * (m + 1 - last)
        best = row
    pairs = []
    i, j = n - 1, m - 1
    while i >= 0 and j >= 0:
        if (i, j) in together:
            pairs.append((i, j))
            i, j = i - 1, j - 1
        elif (i, j) in before or j < i * m // n - width:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def _blank(text: str) -> str:
    """``text`` with spaces for its placeholders."""
    return PLACEHOLDER.sub(lambda match: " " * len(match.group()), text)


def _ends_at(text: str, tokens: Sequence[tuple[int, int]], k: int) -> bool:
    """Whether a line or a sentence ends before token ``k``."""
    if k in (0, len(tokens)):
        return False
    gap = text[tokens[k - 1][1] : tokens[k][0]]
    if "\n" in gap or "\t" in gap:
        return True
    around = _blank(text[max(0, tokens[k][0] - 80) : tokens[k][0] + 20])
    at = min(80, tokens[k][0])
    ends = accumulate(map(len, sentences(around)))
    return at in ends


def _place(text: str, tokens: Sequence[tuple[int, int]], k: int) -> int:
    """Where to cut before token ``k``: at white space, or after the ends of spans."""
    begin = tokens[k - 1][1] if k else 0
    end = tokens[k][0] if k < len(tokens) else len(text)
    gap = text[begin:end]
    space = re.search(r"\s", gap)
    if space:
        return begin + space.start()
    opening = re.search(r"<[0-9]+>", gap)
    return begin + opening.start() if opening else end


def _slices(text: str, cuts: Sequence[int]) -> Iterator[str]:
    for begin, end in pairwise(cuts):
        yield text[begin:end]
