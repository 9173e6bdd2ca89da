"""The place of a paragraph's text in a Markdown file, and its layout there."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markdown_it.token import Token

from templora_edge.documents.markdown.content import BREAK, BREAK_TAG, HARD_BREAK, Content, Markup
from templora_edge.documents.markdown.source import SPACE, markdown, words
from templora_edge.documents.wrapping import columns, filled

_PIPE: Final = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True, slots=True)
class Place:
    """A range of the file, and what text there must look like."""

    begin: tuple[int, int]
    """Line and column, from 0."""
    end: tuple[int, int]
    first: str = ""
    """Prefix of the first line."""
    rest: str | None = None
    """Prefix of the other lines; None if there can be only one line."""
    width: int | None = None
    """Columns to wrap at; None if the source was not wrapped."""
    begins_line: bool = True
    """Whether the text could be read as the beginning of a block."""
    is_cell: bool = False
    """Whether the place is a table cell, which a pipe would end."""

    @property
    def line_break(self) -> Markup:
        """The markup of a line break here."""
        return BREAK_TAG if self.rest is None else HARD_BREAK

    def laid_out(self, content: Content, caution: int) -> str:
        """``content`` as source for this place; for ``caution``, see `source.markdown`."""
        lines: list[str] = []
        for line in markdown(content, caution, begins_line=self.begins_line).split("\n"):
            first = (self.rest or "") if lines else self.first
            if self.width is None:
                lines.append(first + line)
            else:
                lines += filled(words(line), self.width, first, self.rest or "")
        text = "\n".join(lines)[len(self.first) :].replace(SPACE, " ")
        if not self.is_cell:
            return text
        text = text.replace("|", r"\|")
        return text + " " if text.endswith("\\") else text


def place_of_lines(lines: Sequence[str], number: int, inline: Token) -> Place:
    """Place of the text of a paragraph or an underlined heading, from line ``number`` on."""
    texts = [text.strip() for text in inline.content.strip().split("\n")]
    while not lines[number].rstrip().endswith(texts[0]):  # a line of white space of another kind
        number += 1
    whole = [line.rstrip() for line in lines[number : number + len(texts)]]
    first, *others = (
        line[: len(line) - len(text)] for line, text in zip(whole, texts, strict=True)
    )
    n_breaks = sum(token.type == BREAK for token in inline.children or ())
    return Place(
        begin=(number, len(first)),
        end=(number + len(texts) - 1, len(whole[-1])),
        first=first,
        rest=others[0] if others else re.sub(r"[^>\t]", " ", first),
        width=max(map(columns, whole)) if len(texts) > n_breaks + 1 else None,
    )


def place_of_heading(lines: Sequence[str], number: int, inline: Token, marks: str) -> Place:
    """Place of the text of a heading that begins with ``marks``."""
    text = re.escape(inline.content.strip())
    found = re.search(rf"{marks}\s+({text})(?:\s+#+)?\s*$", lines[number])
    if found is None:
        raise ValueError(f"no heading {inline.content!r} in {lines[number]!r}")
    return Place((number, found.start(1)), (number, found.end(1)), begins_line=False)


def places_of_row(line: str, number: int, cells: Iterable[str]) -> Sequence[Place]:
    """Places of those ``cells`` of a table row that are in ``line``."""
    sources = [cell.strip().replace("|", r"\|") for cell in cells]
    pipes = [match.start() for match in _PIPE.finditer(line)]
    spans = list(zip([0, *(pipe + 1 for pipe in pipes)], [*pipes, len(line)], strict=True))
    # what is before a first pipe is a cell, or not even part of the table
    spans = spans if _ends(line, spans, sources) else spans[1:]
    places: list[Place] = []
    for (begin, limit), source in zip(spans, sources, strict=False):
        end = begin + len(line[begin:limit].rstrip())
        is_first = begin == 0
        place = Place(
            (number, end - len(source)), (number, end), begins_line=is_first, is_cell=True
        )
        places.append(place)
    return places


def _ends(line: str, spans: Iterable[tuple[int, int]], sources: Iterable[str]) -> bool:
    """Whether each of ``spans`` of ``line`` ends with the source of its cell."""
    return all(
        line[begin:end].rstrip().endswith(source)
        for (begin, end), source in zip(spans, sources, strict=False)
    )
