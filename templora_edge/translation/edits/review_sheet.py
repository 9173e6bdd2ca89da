"""The text in which a person reviews a block: the source and the translation of each segment.

    === 12
    Le vieux marin regardait la mer.
    --- 12
    The old sailor looked at the sea.

The marks have more characters than any run of these in the segments, so they are found wherever an
editor has moved them: it may wrap or join lines, change their ends, or reorder entries.
"""

import re
from collections.abc import Sequence
from typing import Final

from templora_edge.documents.wrapping import joined
from templora_edge.host.text_file import universal_newlines
from templora_edge.translation.store.segment_row import SegmentRow

INSTRUCTIONS: Final = """\
Change what stands below each line that begins with {mark}. What you leave as it is
counts as approved, and so does an entry that you delete. Each translation is one
line: if you write several, they are joined. Save the file and close the editor.
"""
PROBLEM: Final = "PROBLEM: "
_SHORTEST_MARK: Final = 3


class ReviewSheet:
    """The sheet of ``rows``, a block whose segments all have translations."""

    def __init__(self, rows: Sequence[SegmentRow]) -> None:
        self._rows = {row.id: row for row in rows}
        texts = "\n".join(f"{row.source}\n{row.translation}" for row in rows)
        longest = max(map(len, re.findall("=+|-+", texts)), default=0)
        length = max(_SHORTEST_MARK, longest + 1)
        self._source_mark, self._mark = "=" * length, "-" * length
        self._entry = re.compile(
            rf"(?<![=-])({self._source_mark}|{self._mark})\s+(\d+)(?:[ \t]*\n|\s+|$)"
        )

    @property
    def text(self) -> str:
        """The sheet as it is first shown."""
        head = INSTRUCTIONS.format(mark=self._mark)
        flagged = [row for row in self._rows.values() if row.flags]
        if flagged:
            names = "; ".join(f"{row.id} {', '.join(row.flags)}" for row in flagged)
            head += f"Flagged: {names}.\n"
        return "\n".join([head, *map(self._written, self._rows.values())])

    def read(self, edited: str) -> list[str]:
        """The translations in an ``edited`` sheet, one for each row.

        Raises:
            ValueError: the sheet is damaged; the message says how, in one line.
        """
        _, *pieces = self._entry.split(universal_newlines(edited))
        found: dict[int, str] = {}
        shown: set[int] = set()
        for mark, name, body in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
            number = int(name)
            if number not in self._rows:
                raise ValueError(f"{mark} {number}: no segment of this block has that number")
            if mark == self._source_mark:
                shown.add(number)
                continue
            text = _one_line(body, str(self._rows[number].translation))
            if not text:
                raise ValueError(f"{mark} {number}: no translation below it")
            if found.setdefault(number, text) != text:
                raise ValueError(f"{mark} {number}: stands here twice, with other translations")
        if not found:
            raise ValueError(f"no line begins with {self._mark} and the number of a segment")
        if lost := sorted(shown - found.keys()):
            raise ValueError(f"{self._mark} {lost[0]}: this line is missing before its translation")
        return [found.get(number, str(row.translation)) for number, row in self._rows.items()]

    def with_problem(self, edited: str, problem: str) -> str:
        """A damaged sheet to show again: what is wrong, then all that a person wrote."""
        if edited.startswith(PROBLEM):
            edited = edited.partition("\n")[2]
        if not self._entry.search(edited):
            edited = f"{edited.strip()}\n\n{self.text}".lstrip()
        return f"{PROBLEM}{problem}\n{edited}"

    def _written(self, row: SegmentRow) -> str:
        return (
            f"{self._source_mark} {row.id}\n{row.source}\n"
            f"{self._mark} {row.id}\n{row.translation}\n"
        )


def _one_line(body: str, before: str) -> str:
    """The translation in ``body``; the one ``before`` if an editor only wrapped its line."""
    body = body.strip()
    lines = [line.strip() for line in body.split("\n") if line.strip()]
    is_wrapped = len(lines) > 1 and body.split() == before.split()
    if is_wrapped or before.strip() in (body, body.replace("\n", "")):
        return before
    return joined(lines)
