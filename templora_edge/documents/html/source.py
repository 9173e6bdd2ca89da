"""HTML as people write it: a tree to work on, written back as it was typed.

Any text is taken: end tags that HTML leaves out, that are missing, or that close nothing. Each tag,
text and comment that was not changed is written as it stood, so doctype, entities, case, quotes
and unbalanced tags stay.
"""

import re
from html import escape, unescape
from html.parser import HTMLParser
from typing import Final

from lxml import etree
from lxml.etree import _Element

from templora_edge.documents.html.inline import local_name
from templora_edge.documents.xml_file import ILLEGAL
from templora_edge.errors import DocumentError

MAX_DEPTH: Final = 256
"""Deepest nesting of elements."""

_XML_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_NAME: Final = re.compile(r"[a-z_][a-z0-9_.-]*")
_ENTITY: Final = re.compile(r"&(?:\#[0-9]+|\#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);")

VOID: Final = frozenset((
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
))  # fmt: skip
_RAW: Final = frozenset(("iframe", "noembed", "script", "style", "template", "xmp"))
"""Elements whose content is not read."""
_INLINE: Final = frozenset((
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "del", "dfn", "em", "font",
    "i", "ins", "kbd", "label", "mark", "nobr", "q", "rb", "rp", "rt", "ruby", "s", "samp", "small",
    "span", "strike", "strong", "sub", "sup", "time", "tt", "u", "var",
))  # fmt: skip
_SCOPES: Final = frozenset(("caption", "svg", "table", "td", "th", "math", "object", "button"))
_ROWS: Final = ("td", "th", "tr")
_CLOSED_BY: Final = {
    "li": (("li",), ("ol", "ul", "menu")),
    **dict.fromkeys(("dt", "dd"), (("dt", "dd"), ("dl",))),
    **dict.fromkeys(("td", "th"), (("td", "th"), ("tr", "table"))),
    "tr": (_ROWS, ("tbody", "thead", "tfoot", "table")),
    **dict.fromkeys(("tbody", "thead", "tfoot"), ((*_ROWS, "tbody", "thead", "tfoot"), ("table",))),
    "option": (("option",), ("select", "datalist", "optgroup")),
    "optgroup": (("option", "optgroup"), ("select",)),
    **dict.fromkeys(("rt", "rp"), (("rt", "rp"), ("ruby",))),
    "body": (("head",), ()),
}
"""Start tag -> elements that it ends, looked for up to others."""
_ENDS_P: Final = frozenset((
    "address", "article", "aside", "blockquote", "center", "details", "dialog", "dir", "div", "dl",
    "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6",
    "header", "hgroup", "hr", "li", "dt", "dd", "main", "menu", "nav", "ol", "p", "pre", "search",
    "section", "table", "ul",
))  # fmt: skip

_COMMENT_END: Final = re.compile("--!?>")

_Attributes = list[tuple[str, str | None]]
_Place = tuple[_Element, bool]
"""An element, and whether a text is after it instead of in it."""


class HtmlSource(HTMLParser):
    """The tree of HTML, whole or a part.

    Args:
        name: Of the file, for messages.

    Raises:
        DocumentError: Elements are nested too deeply.
    """

    def __init__(self, text: str, name: str = "HTML") -> None:
        super().__init__(convert_charrefs=True)
        self._text, self._name = text, name
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self.root: _Element = etree.Element("fragment")
        self._stack = [self.root]
        self._starts: dict[_Element, tuple[str, _Attributes]] = {}
        self._ends: dict[_Element, str] = {}
        self._others: dict[_Element, str] = {}
        self._typed: dict[str, str] = {}
        self._spelled: dict[str, str] = {}
        self._texts: dict[_Place, tuple[str, str]] = {}
        self._runs: list[tuple[int, str | _Element | _Place]] = []
        self._raw: tuple[str, _Element, int] | None = None
        self._data: list[str] = []
        self._data_begin = 0
        self._last_comment_end = max((m.start() for m in _COMMENT_END.finditer(text)), default=-1)
        self._has_ended = False
        # no tag ends after the last ">", and the parser would look for the end of each that begins
        end = text.rfind(">") + 1
        self.feed(text[:end])
        self.close()
        self._read_rest(end)
        self._finish()

    def to_text(self) -> str:
        """The HTML with the current tree."""
        pieces: list[str] = []
        walk = etree.iterwalk(self.root, events=("start", "end", "comment", "pi"))
        for event, element in walk:
            if element is self.root:
                if event == "start":
                    pieces.append(self._as_typed(element))
                continue
            if element in self._others:
                if event != "start":
                    pieces += [self._others[element], self._as_typed(element, is_tail=True)]
            elif event == "start":
                pieces += [self._start_tag(element), self._as_typed(element)]
            else:
                pieces += [self._end_tag(element), self._as_typed(element, is_tail=True)]
        return "".join(pieces)

    # what the parser calls

    def handle_starttag(self, tag: str, attrs: _Attributes) -> None:  # noqa: D102
        self._start(tag, attrs, closed=tag in VOID)

    def handle_startendtag(self, tag: str, attrs: _Attributes) -> None:  # noqa: D102
        in_drawing = any(local_name(one) in ("svg", "math") for one in self._stack)
        self._start(tag, attrs, closed=tag in VOID or tag in ("svg", "math") or in_drawing)

    def handle_endtag(self, tag: str) -> None:  # noqa: D102
        self._add_text()
        begin = self._offset()
        if self._raw is not None:
            if self._raw[0] != tag:
                return
            _, holder, start = self._raw
            self._others[holder] = self._text[start:begin]
            self._raw = None
        found = self._open_element(tag)
        if found is None:
            self._add_other("stray" if tag not in _INLINE else None)
            return
        while self._stack[-1] is not found:
            self._stack.pop()
        self._stack.pop()
        self._runs.append((begin, found))

    def handle_data(self, data: str) -> None:  # noqa: D102
        if self._raw is None:
            self._add_data(data, self._offset())

    def parse_comment(self, i: int, report: bool = True) -> int:
        """As in the library, but a comment that never ends reaches to the end of the text."""
        if self._offset() + len("<!") > self._last_comment_end:
            self.handle_comment("")
            self._has_ended = True
            return len(self.rawdata)
        return super().parse_comment(i, report)

    def handle_comment(self, data: str) -> None:  # noqa: ARG002, D102
        self._add_other()

    def handle_decl(self, decl: str) -> None:  # noqa: ARG002, D102
        self._add_other()

    def unknown_decl(self, data: str) -> None:  # noqa: ARG002, D102
        self._add_other()

    def handle_pi(self, data: str) -> None:  # noqa: ARG002, D102
        self._add_other()

    # building

    def _start(self, tag: str, attrs: _Attributes, *, closed: bool) -> None:
        if self._raw is not None:
            return
        self._add_text()
        self._end_implied(tag)
        if len(self._stack) > MAX_DEPTH:
            raise DocumentError(
                f"{self._name}: elements nested too deeply; expected at most {MAX_DEPTH} levels"
            )
        name = tag if _NAME.fullmatch(tag) else re.sub(r"[^a-z0-9_.-]", "_", f"x-{tag}")
        element = etree.SubElement(self._stack[-1], name)
        for key, value in reversed(attrs):
            if (own := _tree_name(key)) is not None:
                element.set(own, ILLEGAL.sub("", value or ""))
        typed = self.get_starttag_text() or ""
        self._starts[element] = (typed, attrs)
        self._runs.append((self._offset(), ""))
        if not closed:
            self._stack.append(element)
            if tag in _RAW:
                holder = etree.SubElement(element, "raw")
                self._raw = (tag, holder, self._offset() + len(typed))

    def _end_implied(self, tag: str) -> None:
        if tag in _ENDS_P:
            self._close(("p",), ())
        if tag in _CLOSED_BY:
            self._close(*_CLOSED_BY[tag])

    def _close(self, tags: tuple[str, ...], limits: tuple[str, ...]) -> None:
        """End open elements of ``tags``, those inside of them too."""
        scopes = {*_SCOPES, *limits} - {*tags}
        place = None
        for n in range(len(self._stack) - 1, 0, -1):
            name = local_name(self._stack[n])
            if name in tags:
                place = n
            elif name in scopes:
                break
        if place is not None:
            del self._stack[place:]

    def _open_element(self, tag: str) -> _Element | None:
        """The innermost open element that the end of ``tag`` may end."""
        name = tag if _NAME.fullmatch(tag) else re.sub(r"[^a-z0-9_.-]", "_", f"x-{tag}")
        for element in reversed(self._stack[1:]):
            found = local_name(element)
            if found == name:
                return element
            if tag in _INLINE and found not in _INLINE:
                return None
            if found in _SCOPES and tag not in (*_SCOPES, "tr", "tbody", "thead", "tfoot"):
                return None
        return None

    def _add_other(self, tag: str | None = None, begin: int | None = None) -> None:
        if self._raw is not None:
            return
        self._add_text()
        parent = self._stack[-1]
        node = etree.Element(tag) if tag else etree.ProcessingInstruction("other")
        parent.append(node)
        self._runs.append((self._offset() if begin is None else begin, node))
        self._others[node] = ""

    def _add_data(self, data: str, begin: int) -> None:
        if not self._data:
            self._data_begin = begin
        self._data.append(data)

    def _add_text(self) -> None:
        """Add the data since the last tag, which comes in pieces."""
        if not self._data:
            return
        text = ILLEGAL.sub("", "".join(self._data))
        self._data.clear()
        parent = self._stack[-1]
        if len(parent):
            parent[-1].tail = text
            place = parent[-1], True
        else:
            parent.text = text
            place = parent, False
        self._texts[place] = text, ""
        self._runs.append((self._data_begin, place))

    def _read_rest(self, begin: int) -> None:
        """Add what follows the last tag, from ``begin`` on: text, and a comment without an end."""
        if self._raw is None and not self._has_ended:
            text, comment, _ = self._text[begin:].partition("<!--")
            if text:
                self._add_data(unescape(text), begin)
            if comment:
                self._add_other(begin=begin + len(text))

    def _offset(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column

    def _finish(self) -> None:
        """Note how everything was typed, which reaches to where the next thing begins."""
        self._add_text()
        if self._raw is not None:  # never ended
            self._others[self._raw[1]] = self._text[self._raw[2] :]
        ends = [*(begin for begin, _ in self._runs), len(self._text)][1:]
        whole = ""
        for (begin, what), end in zip(self._runs, ends, strict=True):
            typed = self._text[begin:end]
            if isinstance(what, str):
                continue  # a start tag, which is noted
            if isinstance(what, tuple):
                text, _ = self._texts[what]
                self._texts[what] = text, typed
                self._typed.setdefault(text, typed)
                whole += typed
            elif what in self._others:
                self._others[what] = typed
            else:
                self._ends[what] = typed
        for entity in dict.fromkeys(_ENTITY.findall(whole)):
            character = unescape(entity)
            if len(character) == 1 and character not in whole and character not in "&<":
                self._spelled.setdefault(character, entity)

    # writing

    def _as_typed(self, element: _Element, *, is_tail: bool = False) -> str:
        """The text in ``element`` or after it: as it was typed there, or else as anywhere."""
        now = element.tail if is_tail else element.text
        if not now:
            return ""
        text, typed = self._texts.get((element, is_tail), ("", ""))
        return typed if text == now else self._typed.get(now) or self._escaped(now)

    def _escaped(self, text: str) -> str:
        written = escape(text, quote=False)
        for character, entity in self._spelled.items():
            written = written.replace(character, entity)
        return written

    def _start_tag(self, element: _Element) -> str:
        typed, attributes = self._starts.get(element, ("", []))
        values = {
            own: ILLEGAL.sub("", value or "")
            for key, value in reversed(attributes)
            if (own := _tree_name(key)) is not None
        }
        now = {str(key): str(value) for key, value in element.attrib.items()}
        if typed and now == values:
            return typed
        written = [typed[1 : 1 + len(element.tag)] if typed else element.tag]
        for key, value in attributes:
            own = _tree_name(key)
            new = value if own is None else now.get(own)
            same = (new or "") == (value or "")
            written.append(key if value is None and same else f'{key}="{escape(new or "")}"')
        for own, new in now.items():
            if own not in values:
                key = "xml:lang" if own == _XML_LANG else own
                written.append(f'{key}="{escape(new)}"')
        return f"<{' '.join(written)}{'/' if typed.endswith('/>') else ''}>"

    def _end_tag(self, element: _Element) -> str:
        if element in self._starts:
            return self._ends.get(element, "")
        return "" if element.tag in VOID else f"</{element.tag}>"


def _tree_name(attribute: str) -> str | None:
    """The name of ``attribute`` in the tree; None if it has none there."""
    if attribute == "xml:lang":
        return _XML_LANG
    return attribute if _NAME.fullmatch(attribute) else None
