"""Passages between the boundaries of blocks: their paragraphs, and translations in their place."""

from collections.abc import Sequence

from lxml.etree import _Element

from templora_edge.documents.document import has_letters
from templora_edge.documents.html.inline import (
    XmlItem,
    anchors,
    second_copy,
    tag_beside,
)
from templora_edge.documents.html.line import Line, flowing, peeled, wrapped
from templora_edge.documents.html.lines import lifted, lines_and_gaps
from templora_edge.documents.markup import Paragraph, plain
from templora_edge.documents.xml_file import ILLEGAL


class Passage:
    r"""Items of a block's content, none of them a block.

    Its paragraph has "\n" for each line break that has words on both sides.

    Args:
        start: Index of the first item in the content.
        languages: Primary subtags of the document's languages; what is marked as of another one is
            shown to the model, and kept.
        preformatted: Whether line ends in a text are line breaks.
        separator: What stands between source and translation in a bilingual document; None is
            a line break.
    """

    def __init__(
        self,
        block: _Element,
        start: int,
        items: Sequence[XmlItem],
        languages: frozenset[str] = frozenset(),
        *,
        preformatted: bool = False,
        separator: str | None = None,
    ) -> None:
        self.block, self.start, self.stop = block, start, start + len(items)
        self._items, self._languages = items, languages
        self._preformatted, self._separator = preformatted, separator
        _, inner = peeled(items, languages)
        lines, _ = self._lines(lifted(inner, preformatted=preformatted, copy=True))
        text = "\n".join(line.text for line in lines)
        self.text = text if any(line.has_own_words for line in lines) else ""
        """The paragraph; empty if it has no letters to translate."""

    def translated(self, translation: str, *, bilingual: bool) -> list[XmlItem]:
        """The items with ``translation``, after the source if ``bilingual``.

        They are made of the elements of the source, so this can be called once.
        """
        targets = anchors(self._items)
        line_break = self._line_break() if bilingual else None
        layers, items = peeled(self._items, self._languages)
        done: list[XmlItem] = []
        if line_break is not None and "\n" in self.text:
            items, source = second_copy(items), items
            done, line_break = [*source, line_break], None
        lines, gaps = self._lines(lifted(items, preformatted=self._preformatted))
        done += gaps[0]
        for line, gap, text in zip(lines, gaps[1:], _fitted(translation, len(lines)), strict=True):
            done += [*line.translated(text, line_break), *gap]
        done = wrapped(layers, done)
        kept = set(anchors(done))
        tag = tag_beside(self.block, "span")
        lost = [self.block.makeelement(tag, {"id": name}) for name in targets if name not in kept]
        return [*lost, *done]

    def _lines(self, items: Sequence[XmlItem]) -> tuple[list[Line], list[list[XmlItem]]]:
        paragraph = Paragraph()
        found, gaps = lines_and_gaps(items, preformatted=self._preformatted)
        lines = [Line(line, paragraph, self._languages) for line in found]
        return lines, gaps

    def _line_break(self) -> XmlItem:
        if self._separator is not None:
            return self._separator
        return "\n" if self._preformatted else self.block.makeelement(tag_beside(self.block, "br"))


class AttributeText:
    """The text of an attribute, such as `alt`."""

    def __init__(self, element: _Element, name: str) -> None:
        self._element, self._name = element, name
        self._value = element.get(name) or ""
        self._paragraph = Paragraph()
        self._literals = dict(self._paragraph.add_text(flowing(self._value).strip()))

    @property
    def text(self) -> str:
        """The paragraph; empty if it has no letters."""
        text = self._paragraph.text
        return text if has_letters(plain(text)) else ""

    def translate(self, translation: str, *, bilingual: bool) -> None:
        """Set the attribute."""
        for number, literal in self._literals.items():
            translation = translation.replace(f"<{number}/>", literal)
        text = ILLEGAL.sub("", translation.replace("\n", " "))
        self._element.set(self._name, f"{self._value} / {text}" if bilingual else text)


def _fitted(translation: str, n_lines: int) -> list[str]:
    """``translation`` as exactly ``n_lines`` lines."""
    lines = translation.split("\n")
    lines += [""] * (n_lines - len(lines))
    return [*lines[: n_lines - 1], " ".join(filter(None, lines[n_lines - 1 :]))] if n_lines else []
