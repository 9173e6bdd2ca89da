"""Markdown: the text of paragraphs is replaced, everything else stays byte for byte."""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise, zip_longest
from pathlib import Path
from typing import Final

from markdown_it.common.utils import unescapeAll
from markdown_it.token import Token

from templora_edge.documents.document import Document, has_letters
from templora_edge.documents.html.fragment import HtmlFragment
from templora_edge.documents.markdown import front_matter
from templora_edge.documents.markdown.content import Atom, Content, atoms, tidy
from templora_edge.documents.markdown.label import PlacedText, PlainText, quoted
from templora_edge.documents.markdown.paragraph import MarkdownParagraph
from templora_edge.documents.markdown.parser import DEEPEST, MarkdownParser
from templora_edge.documents.markdown.place import (
    Place,
    place_of_heading,
    place_of_lines,
    places_of_row,
)
from templora_edge.documents.markup import plain, without_spans
from templora_edge.documents.plain_file import PlainFile
from templora_edge.errors import DocumentError

_TITLE: Final = re.compile(
    r"(?:^|\s)(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\((?:[^()\\]|\\.)*\))\s*$"
)
"""The title at the end of a definition."""
_NO_SPANS: Final = 3
_UNCHANGED: Final = 4
"""Degrees of caution beyond those of `source.markdown`."""

_Change = tuple[tuple[int, int], tuple[int, int], str]
"""Line and column of the beginning and the end of what is replaced, and the new text."""
_Structure = list[list[Atom] | tuple[str, ...]]
"""The blocks of a file, and between them what their texts are read as."""


@dataclass(frozen=True, slots=True)
class _PlacedParagraph:
    """A paragraph and its place in the file."""

    index: int
    """Index of its text in the structure."""
    place: Place
    paragraph: MarkdownParagraph

    @property
    def texts(self) -> Sequence[str]:
        return [*self._own, *(label.text for label in self.paragraph.labels)]

    @property
    def _own(self) -> list[str]:
        text = self.paragraph.text
        return [text] if has_letters(plain(text)) else []

    def content(
        self, translations: Sequence[str], caution: int, *, bilingual: bool
    ) -> Content | None:
        """Text to write; None if nothing changes."""
        if caution == _UNCHANGED or (list(translations) == list(self.texts) and not bilingual):
            return None
        own = self._own
        texts = [*own, *translations[: len(own)]] if bilingual else translations[: len(own)]
        if caution == _NO_SPANS:
            texts = [without_spans(self.paragraph.text, text) for text in texts]
        labels = [
            label.original
            if text == label.text and not bilingual
            else label.translated(text, bilingual=bilingual)
            for label, text in zip(self.paragraph.labels, translations[len(own) :], strict=True)
        ]
        return self.paragraph.content(texts or [self.paragraph.text], labels, self.place.line_break)


@dataclass(frozen=True, slots=True)
class _HtmlBlock:
    """A block of HTML, as lines of the file."""

    begin: int
    end: tuple[int, int]
    """Line and column."""
    first: str
    """Prefix of the first line, in a quote or a list."""
    rest: str
    """Prefix of the other lines."""
    source: str
    html: HtmlFragment

    @property
    def texts(self) -> Sequence[str]:
        return self.html.paragraphs

    def change(self, texts: Sequence[str], *, language: str, bilingual: bool) -> _Change:
        """What to write: no new blank line, as that could end the block."""
        texts = [text.replace("\r", " ") for text in texts]  # which would end a line of the file
        lines = self.html.translated(texts, language=language, bilingual=bilingual).split("\n")
        if all(line.strip() for line in self.source.split("\n")):
            lines = [line for line in lines if line.strip()]
        text = "\n".join(f"{self.rest if i else self.first}{line}" for i, line in enumerate(lines))
        return (self.begin, 0), self.end, text


@dataclass(frozen=True, slots=True)
class _Value:
    """A text by itself: in front matter, or the title of a definition."""

    placed: PlacedText

    @property
    def texts(self) -> Sequence[str]:
        return [self.placed.plain.text]

    def change(self, texts: Sequence[str], *, language: str, bilingual: bool) -> _Change:
        """What to write."""
        del language
        text = self.placed.plain.translated(texts[0], bilingual=bilingual)
        line = self.placed.line
        return (line, self.placed.begin), (line, self.placed.end), self.placed.write(text)


_Part = _PlacedParagraph | _HtmlBlock | _Value


class MarkdownDocument(Document):
    """A .md file: CommonMark with tables, strikethrough, task lists, alerts and footnotes.

    Raises:
        DocumentError: The file is not text, or empty.
    """

    def __init__(self, path: Path, language: str | None = None) -> None:
        self._file = PlainFile.read(path, language)
        self._parser = MarkdownParser()
        tokens = self._parser.tokens(self._file.lines)
        self._structure = _structure(tokens)
        lines = self._file.lines
        self._skipped = Counter(_skipped(tokens))
        self._parts: list[_Part] = [
            *map(_Value, front_matter.texts(lines[: front_matter.n_lines(lines)])),
            *_parts(tokens, lines, str(path), language or "", self._skipped),
        ]
        self._passages = [part for part in self._parts if isinstance(part, _PlacedParagraph)]

    @property
    def paragraphs(self) -> Sequence[str]:
        """The texts to translate, of footnotes, too; see `Document.paragraphs`."""
        return [text for part in self._parts for text in part.texts]

    @property
    def skipped(self) -> Mapping[str, int]:
        """Blocks of code, and what is left out of HTML; see `Document.skipped`."""
        return self._skipped

    def write(
        self, path: Path, translations: Sequence[str], *, language: str, bilingual: bool = False
    ) -> None:
        """Write the file; see `Document.write`.

        The result is parsed again, and a paragraph that is not read as intended is written with
        more caution: escaped, with emphasis as HTML, without its spans, and finally not at all.
        """
        left = iter(translations)
        texts = [[next(left) for _ in part.texts] for part in self._parts]
        passages = [
            own
            for part, own in zip(self._parts, texts, strict=True)
            if isinstance(part, _PlacedParagraph)
        ]
        others = [
            part.change(own, language=language, bilingual=bilingual)
            for part, own in zip(self._parts, texts, strict=True)
            if not isinstance(part, _PlacedParagraph)
            and own
            and (bilingual or list(part.texts) != own)
        ]
        caution = [0] * len(self._passages)
        mistaken: Sequence[int] = range(len(self._passages))
        reach = 1
        contents: list[Content | None] = [None] * len(self._passages)
        lines = self._lines(contents, caution, others)  # if there are no paragraphs
        while mistaken:
            for k in mistaken:
                contents[k] = self._passages[k].content(
                    passages[k], caution[k], bilingual=bilingual
                )
            lines = self._lines(contents, caution, others)
            mistaken, reach = self._mistaken(contents, self._parser.tokens(lines), reach)
            for k in mistaken:
                caution[k] += 1
        self._file.write(path, lines)

    def _lines(
        self,
        contents: Iterable[Content | None],
        caution: Iterable[int],
        others: Iterable[_Change],
    ) -> Sequence[str]:
        """Lines of the file with ``contents`` and ``others`` in their places.

        A None leaves the source.
        """
        begins = [0]  # of its lines in its text
        for line in self._file.lines:
            begins.append(begins[-1] + len(line) + 1)
        changes = [
            (begins[begin] + column, begins[end] + end_column, text)
            for (begin, column), (end, end_column), text in others
        ]
        for passage, content, degree in zip(self._passages, contents, caution, strict=True):
            if content is not None:
                (first, column), (last, last_column) = passage.place.begin, passage.place.end
                text = passage.place.laid_out(content, degree)
                changes.append((begins[first] + column, begins[last] + last_column, text))
        text, written = "\n".join(self._file.lines), 0
        parts = []
        for begin, end, new in sorted(changes):
            parts += [text[written:begin], new]
            written = end
        return ("".join(parts) + text[written:]).split("\n")

    def _mistaken(
        self, contents: Sequence[Content | None], tokens: Iterable[Token], reach: int
    ) -> tuple[list[int], int]:
        """Indices of the ``contents`` because of which ``tokens`` are not as intended.

        Args:
            reach: Where none of them is read otherwise, but something else is, so many on each side
                of it are taken. It is returned for the next time, larger if that was so.
        """
        meant = list(self._structure)
        written = {}
        for k, (passage, content) in enumerate(zip(self._passages, contents, strict=True)):
            if content is not None:
                written[passage.index] = k
                meant[passage.index] = tidy(
                    atom
                    for piece in content
                    for atom in ([piece] if isinstance(piece, str) else piece.atoms)
                )
        wrong = []
        for index, (one, other) in enumerate(zip_longest(meant, _structure(tokens))):
            if one != other:
                wrong.append(index)
                if not (isinstance(one, list) and isinstance(other, list)):
                    break  # from here on, nothing is where it was
        texts = [written[index] for index in wrong if index in written]
        if wrong and not texts:  # a text near by made this
            indices = list(written)
            at = bisect_left(indices, wrong[0])
            near = indices[max(at - reach, 0) : at + reach]
            return [written[index] for index in near], 2 * reach
        return texts, reach


def _skipped(tokens: Sequence[Token]) -> Iterator[str]:
    """The kind of each block in ``tokens`` that is left as it is."""
    for before, token in pairwise([Token("", "", 0), *tokens]):
        if token.type in {"fence", "code_block"}:
            yield "blocks of code"
        is_empty = before.nesting == 1 and token.nesting == -1
        if (is_empty or token.type == "kept_line") and token.level + 1 >= DEEPEST:
            yield "blocks nested too deeply"


def _structure(tokens: Iterable[Token]) -> _Structure:
    """The comparable structure of ``tokens``."""
    structure: _Structure = []
    for token in tokens:
        if token.type == "inline":
            structure.append(tidy(atoms(token.children or ())))
        else:
            content = "" if token.type == "html_block" else token.content
            meta = token.meta
            if token.type == "definition":
                meta = meta | {"title": bool(meta["title"])}
            fields = (token.tag, token.markup, token.info, content, token.hidden, meta)
            values = (*fields, *token.attrs.values())
            structure.append((token.type, *map(str, values)))
    return structure


def _html_block(token: Token, lines: Sequence[str], name: str, language: str) -> _HtmlBlock | None:
    """The block of ``token``; None if it cannot be read or has no lines of its own."""
    source = token.content.rstrip()
    if not token.map:
        return None
    begin = token.map[0]
    own = [line.rstrip() for line in source.split("\n")]
    whole = [line.rstrip() for line in lines[begin : begin + len(own)]]
    if not all(map(str.endswith, whole, own)):
        return None
    prefixes = [line.removesuffix(text) for line, text in zip(whole, own, strict=True)]
    rest = prefixes[1] if len(own) > 1 else re.sub(r"[^>\t]", " ", prefixes[0])
    try:
        html = HtmlFragment(source, name, language)
    except DocumentError:  # nested too deeply
        return None
    end = begin + len(own) - 1, len(whole[-1])
    return _HtmlBlock(begin, end, prefixes[0], rest, source, html)


def _title(token: Token, lines: Sequence[str]) -> _Value | None:
    """The title of the definition ``token``, if it has one on its last line."""
    number = (token.map or (0, 0))[1] - 1
    title = PlainText(token.meta["title"])
    found = _TITLE.search(lines[number])
    if not title.text or not found or unescapeAll(found[1][1:-1]) != title.original:
        return None
    return _Value(PlacedText(number, *found.span(1), title, quoted))


def _parts(
    tokens: Sequence[Token],
    lines: Sequence[str],
    name: str,
    language: str,
    skipped: Counter[str],
) -> Iterator[_Part]:
    """What in ``tokens`` has something to translate; what cannot be read is counted."""
    cells: Iterator[Place] = iter(())
    for index, (block, token) in enumerate(pairwise([Token("", "", 0), *tokens])):
        if block.type == "tr_open" and block.map:
            end = next(k for k in count(index) if tokens[k].type == "tr_close")
            texts = [token.content for token in tokens[index:end] if token.type == "inline"]
            cells = iter(places_of_row(lines[block.map[0]], block.map[0], texts))
        # a row may lack cells at its end
        cell = next(cells, None) if block.type in {"th_open", "td_open"} else None
        if token.type == "definition" and (title := _title(token, lines)):
            yield title
        if token.type == "html_block" and has_letters(token.content):
            if html := _html_block(token, lines, name, language):
                skipped += html.html.skipped
                yield html
            else:
                skipped["blocks of HTML"] += 1
        if token.type != "inline" or not token.map:
            continue
        children = token.children or []
        if any(child.level > DEEPEST for child in children):
            skipped["paragraphs nested too deeply"] += 1
            continue
        paragraph = MarkdownParagraph(children)
        if not has_letters(plain(paragraph.text)) and not paragraph.labels:
            continue
        if "column" in token.meta:
            column = token.meta["column"]
            place = Place(
                (token.map[0], column),
                (token.map[0], column + len(token.content)),
                begins_line=False,
            )
        elif block.markup.startswith("#"):
            place = place_of_heading(lines, token.map[0], token, block.markup)
        else:
            place = cell or place_of_lines(lines, token.map[0], token)
        yield _PlacedParagraph(index, place, paragraph)
