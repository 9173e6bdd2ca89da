"""Markdown: the text of paragraphs is replaced, everything else stays byte for byte."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise, zip_longest
from pathlib import Path
from typing import Final

from markdown_it.token import Token

from templora_edge.documents.document import Document, has_letters
from templora_edge.documents.html.fragment import HtmlFragment
from templora_edge.documents.markdown.content import Atom, Content, atoms, tidy
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

_NO_SPANS: Final = 3
_UNCHANGED: Final = 4
"""Degrees of caution beyond those of `source.markdown`."""

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
        return [self.paragraph.text]

    def content(self, translation: str, caution: int, *, bilingual: bool) -> Content | None:
        """Text to write; None if nothing changes."""
        source = self.paragraph.text
        if caution == _UNCHANGED or (translation == source and not bilingual):
            return None
        texts = [source, translation] if bilingual else [translation]
        if caution == _NO_SPANS:
            texts = [without_spans(source, text) for text in texts]
        return self.paragraph.content(texts, self.place.line_break)


@dataclass(frozen=True, slots=True)
class _HtmlBlock:
    """A block of HTML, as lines of the file."""

    begin: int
    end: int
    """Index of the line after the block."""
    html: HtmlFragment

    @property
    def texts(self) -> Sequence[str]:
        return self.html.paragraphs


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
        self._parts = list(_parts(tokens, self._file.lines, str(path), language or ""))
        self._skipped = Counter(
            "blocks of code" for token in tokens if token.type in {"fence", "code_block"}
        )
        for part in self._parts:
            if isinstance(part, _HtmlBlock):
                self._skipped += part.html.skipped
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
        by_part = [[next(left) for _ in part.texts] for part in self._parts]
        translations = [
            texts[0]
            for part, texts in zip(self._parts, by_part, strict=True)
            if isinstance(part, _PlacedParagraph)
        ]
        blocks = [
            (part, part.html.translated(texts, language=language, bilingual=bilingual))
            for part, texts in zip(self._parts, by_part, strict=True)
            if isinstance(part, _HtmlBlock) and (bilingual or list(part.texts) != texts)
        ]
        caution = [0] * len(self._passages)
        mistaken: Sequence[int] = range(len(self._passages))
        contents: list[Content | None] = [None] * len(self._passages)
        lines = self._lines(contents, caution, blocks)  # if there is nothing but HTML
        while mistaken:
            for k in mistaken:
                contents[k] = self._passages[k].content(
                    translations[k], caution[k], bilingual=bilingual
                )
            lines = self._lines(contents, caution, blocks)
            mistaken = self._mistaken(contents, self._parser.tokens(lines))
            for k in mistaken:
                caution[k] += 1
        self._file.write(path, lines)

    def _lines(
        self,
        contents: Iterable[Content | None],
        caution: Iterable[int],
        blocks: Iterable[tuple[_HtmlBlock, str]],
    ) -> Sequence[str]:
        """Lines of the file with ``contents`` and ``blocks`` in their places.

        A None leaves the source.
        """
        begins = [0]  # of its lines in its text
        for line in self._file.lines:
            begins.append(begins[-1] + len(line) + 1)
        changes = [
            (begins[block.begin], begins[block.end] - 1, _without_blank_lines(html))
            for block, html in blocks
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

    def _mistaken(self, contents: Sequence[Content | None], tokens: Iterable[Token]) -> list[int]:
        """Indices of the ``contents`` because of which ``tokens`` are not as intended."""
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
        if wrong and not texts:  # another text made this
            texts = [k for index, k in written.items() if index >= wrong[0]][:1]
            return texts or list(written.values())
        return texts


def _structure(tokens: Iterable[Token]) -> _Structure:
    """The comparable structure of ``tokens``."""
    structure: _Structure = []
    for token in tokens:
        if token.type == "inline":
            structure.append(tidy(atoms(token.children or ())))
        else:
            content = "" if token.type == "html_block" else token.content
            fields = (token.tag, token.markup, token.info, content, token.hidden, token.meta)
            values = (*fields, *token.attrs.values())
            structure.append((token.type, *map(str, values)))
    return structure


def _without_blank_lines(html: str) -> str:
    """``html`` on one line after another, as a blank one would end the block."""
    return re.sub(r"\n\s*\n", "\n", html)


def _html_block(token: Token, lines: Sequence[str], name: str, language: str) -> _HtmlBlock | None:
    """The block of ``token`` if it has something to translate and lines of its own."""
    if not token.map or token.content.lstrip().startswith(
        ("<!--", "<?", "<!", "<script", "<style")
    ):
        return None
    begin, end = token.map
    source = "\n".join(lines[begin:end]).rstrip()
    end = begin + source.count("\n") + 1
    if source != token.content.rstrip() or not has_letters(re.sub("<[^<>]*>", "", source)):
        return None
    html = HtmlFragment(source, name, language)
    return _HtmlBlock(begin, end, html) if html.paragraphs else None


def _parts(
    tokens: Sequence[Token], lines: Sequence[str], name: str, language: str
) -> Iterator[_PlacedParagraph | _HtmlBlock]:
    """What in ``tokens`` has something to translate."""
    cells: Iterator[Place] = iter(())
    for index, (block, token) in enumerate(pairwise([Token("", "", 0), *tokens])):
        if block.type == "tr_open" and block.map:
            end = next(k for k in count(index) if tokens[k].type == "tr_close")
            texts = [token.content for token in tokens[index:end] if token.type == "inline"]
            cells = iter(places_of_row(lines[block.map[0]], block.map[0], texts))
        # a row may lack cells at its end
        cell = next(cells, None) if block.type in {"th_open", "td_open"} else None
        if token.type == "html_block":
            if html := _html_block(token, lines, name, language):
                yield html
            continue
        if token.type != "inline" or not token.map:
            continue
        children = token.children or []
        if any(child.level > DEEPEST for child in children):
            continue
        paragraph = MarkdownParagraph(children)
        if not has_letters(plain(paragraph.text)):
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
