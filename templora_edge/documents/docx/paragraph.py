"""WordprocessingML paragraphs (w:p) as text with placeholders, and back."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from docx.oxml.ns import qn
from docx.oxml.parser import OxmlElement
from lxml import etree

from templora_edge.documents import markup
from templora_edge.documents.direction import is_rtl
from templora_edge.documents.docx.direction import set_flag
from templora_edge.documents.docx.fragment import (
    Container,
    Field,
    Fragment,
    RunText,
    Thing,
    fragments_of,
    nodes_of,
)
from templora_edge.documents.docx.run import (
    Look,
    RunNode,
    empty,
    look_of,
    put,
    shell_of,
    text_nodes,
)

_EAST_ASIAN: Final = ("zh", "ja", "ko")
_COMPLEX: Final = tuple(
    "ar he fa ur ps sd ug yi ckb dv th lo km my hi bn ta te kn ml gu pa mr ne si bo".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class _Level:
    """Content of a paragraph, or of a container around all of its text."""

    before: list[Fragment]
    core: list[Fragment]
    after: list[Fragment]
    around: Container | Field | None
    """The only fragment of the core, if the next level is inside it."""


class DocxParagraph:
    """A paragraph that has been read and can be written once.

    The most frequent look of its text has no placeholder; nor has that of a link's text inside it.
    """

    def __init__(self, element: etree._Element) -> None:
        self.element = element
        self._levels = _levels(fragments_of(element))
        self._core = self._levels[-1].core
        self._runs: dict[int, etree._Element] = {}
        self._containers: dict[int, tuple[Container | Field, etree._Element]] = {}
        self._singles: dict[int, Sequence[Thing]] = {}
        self._literals: dict[int, str] = {}
        self._hidden: dict[int, Thing] = {}
        self._marked_runs: dict[etree._Element, etree._Element] = {}
        text = markup.Paragraph()
        base = _base(self._core)
        if base is not None:
            self._add(self._core, base, text)
        self._base = base
        self._built = text
        self.text: Final = markup.shown(text.marked)
        """As in `Document.paragraphs`, but perhaps without letters."""
        things = [*self._hidden.values()]
        things += [thing for one in self._singles.values() for thing in one]
        for level in self._levels:
            beside = (*level.before, *level.after)
            things += [fragment for fragment in beside if isinstance(fragment, Thing)]
        self.skipped: Final = Counter(thing.kind for thing in things if thing.kind)
        """As in `Document.skipped`."""

    def write(self, translation: str, *, language: str, bilingual: bool) -> None:
        """Replace the text by ``translation``, or append it, tagged with its ``language``."""
        tree = markup.parse(translation)
        if tree is not None and not bilingual:
            tree = markup.parse(markup.whole(translation, self._built.marked))
        if tree is None or self._base is None:
            raise ValueError(f"not a translation of {self.text!r}: {translation!r}")
        run = self._base.run
        # ends of ranges stay in order, whatever became of their placeholders
        marks = iter([number for number in self._singles if self._is_mark(number)])
        self._hidden_left = iter(self._hidden.values())
        nodes = self._nodes(tree, run, marks, language if bilingual else None)
        if bilingual:
            nodes = [*nodes_of(self._core), (run, OxmlElement("w:br")), *nodes]
        for level in reversed(self._levels):
            if level.around is not None:
                nodes = level.around.around(nodes)
            nodes = [*nodes_of(level.before), *nodes, *nodes_of(level.after)]
        empty(self.element)
        put(nodes, self.element)

    def _add(self, fragments: Sequence[Fragment], base: RunText, text: markup.Paragraph) -> None:
        """Append ``fragments`` to ``text``; what does not look like ``base`` is in spans."""
        number, look = 0, base.look  # of the span that is open
        things: list[Thing] = []
        for fragment in _joined(_with_spaces_settled(_joined(fragments), base)):
            if isinstance(fragment, Thing):
                things.append(fragment)
                continue
            if number and not (isinstance(fragment, RunText) and fragment.look == look):
                text.close_span(number)
                number, look = 0, base.look
            self._add_things(things, text)
            things = []
            if isinstance(fragment, RunText):
                if fragment.look != look:
                    number, look = text.open_span(), fragment.look
                    self._runs[number] = fragment.run
                self._literals.update(text.add_text(fragment.text))
            elif (inner := _base(fragment.fragments)) is not None:
                opened = text.open_span()
                self._containers[opened] = fragment, inner.run
                self._add(fragment.fragments, inner, text)
                text.close_span(opened)
        if number:
            text.close_span(number)
        self._add_things(things, text)

    def _add_things(self, things: Sequence[Thing], text: markup.Paragraph) -> None:
        """Append ``things`` in order: a placeholder for those together that a reader sees."""
        for is_invisible, group in groupby(things, lambda thing: thing.is_invisible):
            if is_invisible:
                for thing in group:
                    self._hidden[text.add_hidden()] = thing
            else:
                self._singles[text.add_single()] = list(group)

    def _is_mark(self, number: int) -> bool:
        return any(thing.is_mark for thing in self._singles[number])

    def _nodes(
        self,
        tree: Sequence[markup.Node],
        run: etree._Element,
        marks: Iterator[int],
        language: str | None,
    ) -> list[RunNode]:
        """A translation as XML, its text formatted as ``run``.

        Args:
            language: Language to tag it with if the source stays before it; None otherwise.
        """
        nodes: list[RunNode] = []
        for node in tree:
            if isinstance(node, str):
                nodes += text_nodes(node, self._marked(run, language))
            elif node.number in self._literals:
                nodes += text_nodes(self._literals[node.number], self._marked(run, language))
            elif node.number in self._hidden:
                nodes += next(self._hidden_left).nodes()
            elif isinstance(node, markup.Single):
                number = next(marks) if self._is_mark(node.number) else node.number
                for thing in self._singles[number]:
                    nodes += thing.nodes() if language is None else thing.again()
            elif node.number in self._runs:
                nodes += self._nodes(node.children, self._runs[node.number], marks, language)
            else:
                container, inside = self._containers[node.number]
                inner = self._nodes(node.children, inside, marks, language)
                nodes += container.around(inner) if language is None else container.again(inner)
        return nodes

    def _marked(self, run: etree._Element, language: str | None) -> etree._Element:
        """A run like ``run``, tagged with ``language``."""
        if language is None:
            return run
        if run not in self._marked_runs:
            marked = shell_of(run)
            properties = marked.find(qn("w:rPr"))
            if properties is None:
                properties = OxmlElement("w:rPr")
                marked.insert(0, properties)
            for child in properties.findall(qn("w:rPrChange")):
                properties.remove(child)
            tag = properties.find(qn("w:lang"))
            if tag is None:
                tag = etree.SubElement(properties, qn("w:lang"))
            set_language(tag, language)
            if is_rtl(language):
                set_flag(properties, "w:rtl")
            self._marked_runs[run] = marked
        return self._marked_runs[run]


def set_language(element: etree._Element, language: str) -> None:
    """Set a w:lang to ``language``, also in the attribute for its script (17.3.2.20)."""
    element.set(qn("w:val"), language)
    primary = language.partition("-")[0].lower()
    if primary in _EAST_ASIAN:
        element.set(qn("w:eastAsia"), language)
    elif primary in _COMPLEX:
        element.set(qn("w:bidi"), language)


def _levels(fragments: Sequence[Fragment]) -> list[_Level]:
    """The levels from the whole paragraph down to the one without containers around its text."""
    begin, end = 0, len(fragments)
    while begin < end and _is_outside(fragments[begin]):
        begin += 1
    while begin < end and _is_outside(fragments[end - 1]):
        end -= 1
    before, core, after = list(fragments[:begin]), list(fragments[begin:end]), list(fragments[end:])
    if len(core) == 1 and isinstance(only := core[0], Container | Field):
        return [_Level(before, core, after, only), *_levels(only.fragments)]
    if core and isinstance(first := core[0], RunText):
        text = first.text.lstrip()
        core[0] = replace(first, text=text)
        before.append(replace(first, text=first.text[: -len(text)]))
    if core and isinstance(last := core[-1], RunText):
        text = last.text.rstrip()
        core[-1] = replace(last, text=text)
        after.insert(0, replace(last, text=last.text[len(text) :]))
    return [_Level(before, core, after, None)]


def _is_outside(fragment: Fragment) -> bool:
    return isinstance(fragment, Thing) or (isinstance(fragment, RunText) and fragment.is_blank)


def _is_hidden(fragment: Fragment) -> bool:
    return isinstance(fragment, Thing) and fragment.is_invisible


def _base(fragments: Sequence[Fragment]) -> RunText | None:
    """The first text of the most frequent look; without text at this level, one further in."""
    frequencies: Counter[Look] = Counter()
    for fragment in fragments:
        if isinstance(fragment, RunText) and not fragment.is_blank:
            frequencies[fragment.look] += len(fragment.text)
    if frequencies:
        look = frequencies.most_common(1)[0][0]
        texts = (fragment for fragment in fragments if isinstance(fragment, RunText))
        return next(text for text in texts if text.look == look and not text.is_blank)
    inside = (
        _base(fragment.fragments)
        for fragment in fragments
        if isinstance(fragment, Container | Field)
    )
    return next((text for text in inside if text is not None), None)


def _joined(fragments: Sequence[Fragment]) -> list[Fragment]:
    """``fragments``, in which neighbouring texts of the same look are one."""
    joined: list[Fragment] = []
    for look, group in groupby(fragments, lambda one: isinstance(one, RunText) and one.look):
        if look is False:
            joined += group
        else:
            texts = [one for one in group if isinstance(one, RunText)]
            joined.append(replace(texts[0], text="".join(one.text for one in texts)))
    return joined


def _with_spaces_settled(fragments: Sequence[Fragment], base: RunText) -> list[Fragment]:
    """``fragments`` with space in the look of a text around it, or as a thing if it can be seen."""
    settled: list[Fragment] = []
    seen = [fragment for fragment in fragments if not _is_hidden(fragment)]
    n_seen = 0  # before this one
    for fragment in fragments:
        is_seen = not _is_hidden(fragment)
        if isinstance(fragment, RunText) and fragment.is_blank:
            neighbours = (*seen[max(n_seen - 1, 0) : n_seen], *seen[n_seen + 1 : n_seen + 2])
            around = [
                each for each in neighbours if isinstance(each, RunText) and not each.is_blank
            ]
            is_inside = len(around) == 2 and around[0].look == around[1].look
            look = look_of(fragment.run, on_space=True)
            texts = [*around, base] if is_inside else [base, *around]
            alike = (text for text in texts if look_of(text.run, on_space=True) == look)
            text = next(alike, None)
            settled.append(
                Thing(tuple(fragment.nodes()))
                if text is None
                else replace(fragment, run=text.run, look=text.look)
            )
        else:
            settled.append(fragment)
        n_seen += is_seen
    return settled
