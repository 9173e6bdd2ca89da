"""Inline Markdown as a paragraph with placeholders, and translations in its place."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from markdown_it.token import Token

from templora_edge.documents import markup
from templora_edge.documents.markdown.content import WHITE, Content, Markup
from templora_edge.documents.markdown.label import PlainText
from templora_edge.documents.markdown.tree import Element, MarkdownNode, pieces, tree
from templora_edge.documents.xml_file import ILLEGAL


class MarkdownParagraph:
    """A paragraph that has been read and can be written with translations."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        self._marks: dict[int, str | Element] = {}
        self._breaks: list[Markup] = []
        self._before: list[str | Markup] = []
        self._after: list[str | Markup] = []
        paragraph = markup.Paragraph()
        nodes = tree(tokens)
        self._labelled = [
            mark for mark in pieces(nodes) if isinstance(mark, Markup) and mark.labels
        ]
        self._add(self._core(nodes), paragraph)
        self.text: Final = paragraph.text
        """As in `Document.paragraphs`, but perhaps without letters."""

    @property
    def labels(self) -> list[PlainText]:
        """Alternative texts of images, and titles, that have letters."""
        return [label.plain for mark in self._labelled for label in mark.labels if label.plain.text]

    def content(
        self, translations: Sequence[str], labels: Sequence[str], line_break: Markup
    ) -> Content:
        """The whole paragraph.

        Args:
            translations: Take the place of its text, with breaks between them.
            labels: Take the place of `labels`.
        """
        content = list(self._before)
        for index, translation in enumerate(translations):
            content += [line_break] if index else []
            tree = markup.parse(translation.strip()) or ()  # a break at its end is none
            content += self._pieces(tree, iter(self._breaks), in_link=False)
        content += self._after
        begin, end = 0, len(content)
        while begin < end and _is_blank(content[begin]):
            begin += 1
        while begin < end and _is_blank(content[end - 1]):
            end -= 1
        content = content[begin:end]
        left = iter(labels)
        relabelled = {
            id(mark): mark.relabelled(
                [next(left) if label.plain.text else label.plain.original for label in mark.labels]
            )
            for mark in self._labelled
        }
        return [
            relabelled.get(id(piece), piece) if isinstance(piece, Markup) else piece
            for piece in content
        ]

    def _core(self, nodes: Sequence[MarkdownNode]) -> Sequence[MarkdownNode]:
        """``nodes`` without the markup around all of their text."""
        left = deque(nodes)
        after: list[str | Markup] = []  # from the end
        while left:
            first, last = left[0], left[-1]
            if isinstance(first, str) and first != (text := first.lstrip()):
                self._before.append(Markup.space(first.removesuffix(text)))
                left[0] = text
            elif isinstance(last, str) and last != (text := last.rstrip()):
                after.append(Markup.space(last.removeprefix(text)))
                left[-1] = text
            elif not first:
                left.popleft()
            elif not last:
                left.pop()
            elif _is_around(first):
                self._before += pieces([left.popleft()])
            elif _is_around(last):
                after += reversed([*pieces([left.pop()])])
            elif len(left) == 1 and isinstance(first, Element) and first.closing:
                self._before.append(first.opening)
                after.append(first.closing)
                left = deque(first.children)
            else:
                break
        self._after = after[::-1]
        return left

    def _add(self, nodes: Iterable[MarkdownNode], paragraph: markup.Paragraph) -> None:
        for node in nodes:
            if isinstance(node, str):
                self._marks.update(paragraph.add_text(node))
            elif node.opening.is_break:
                self._breaks.append(node.opening)
                paragraph.add_text("\n")
            elif node.closing:
                number = paragraph.open_span()
                self._marks[number] = node
                self._add(node.children, paragraph)
                paragraph.close_span(number)
            else:
                self._marks[paragraph.add_single()] = node

    def _pieces(
        self, nodes: Iterable[markup.Node], breaks: Iterator[Markup], *, in_link: bool
    ) -> Content:
        r"""``nodes`` as content, each "\n" as one of ``breaks``, or a space when none is left."""
        content: list[str | Markup] = []
        for node in nodes:
            mark = "" if isinstance(node, str) else self._marks[node.number]
            if isinstance(node, str):
                content += _lines(ILLEGAL.sub("", node), breaks)
            elif isinstance(mark, str):
                content.append(mark)
            elif isinstance(node, markup.Single):
                content += _apart(content, mark.opening)
            else:
                content += self._span(node, mark, breaks, in_link=in_link)
        return content

    def _span(
        self, span: markup.Span, mark: Element, breaks: Iterator[Markup], *, in_link: bool
    ) -> Content:
        """``span`` as content: no link in a link, no emphasis that is empty or ends in spaces."""
        is_link = mark.opening.kind == "link_open"
        inner = list(self._pieces(span.children, breaks, in_link=in_link or is_link))
        if mark.closing is None or (is_link and in_link):
            return inner
        if not mark.opening.is_emphasis:
            return [mark.opening, *inner, mark.closing]
        before: Content = ()
        after: Content = ()
        if inner and isinstance(inner[0], str) and inner[0].startswith(" "):
            before, inner[0] = " ", inner[0][1:]
        if inner and isinstance(inner[-1], str) and inner[-1].endswith(" "):
            after, inner[-1] = " ", inner[-1][:-1]
        if any(inner):
            inner = [mark.opening, *inner, mark.closing]
        return [*before, *inner, *after]


def _is_around(node: MarkdownNode) -> bool:
    """Whether ``node`` is no part of a sentence that it begins or ends."""
    return isinstance(node, Element) and not (node.closing or node.is_word)


def _lines(text: str, breaks: Iterator[Markup]) -> Content:
    content: list[str | Markup] = []
    while "\n" in text and (mark := next(breaks, None)):
        line, _, text = text.partition("\n")
        content += [WHITE.sub(" ", line), mark]
    return [*content, WHITE.sub(" ", text)]


def _is_blank(piece: str | Markup) -> bool:
    return piece.is_blank if isinstance(piece, Markup) else not piece.strip()


def _apart(content: Content, code: Markup) -> Content:
    """``code``, with a space before it if it would merge with the code there."""
    last = content[-1] if content else ""
    if isinstance(last, Markup) and last.sources[0][-1] == "`" == code.sources[0][0]:
        return [" ", code]
    return [code]
