"""Constructs of other Markdown programs, which are kept as they are.

Lines: fences of containers (`:::`, `///`), admonitions (`!!!`, `???`), imports and exports of MDX,
shortcodes and template tags, tables of contents. In a line: shortcodes, template tags and
variables, wiki links, math, attributes, emoji codes.
"""

import re
from typing import Final, Literal

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

_LINE: Final = re.compile(
    r"(?P<fence>:{3,}(?:[ \t]*[\w-]+)?(?:\{[^{}]*\}|\[(?=[^\]]*\]\s*$))?[ \t]*)(?P<title>.*)$"
    r'|(?P<admonition>(?:!!!|\?\?\?\+?|===)[ \t]+[^"]*")(?P<label>[^"]*)"\s*$'
    r"|(?:!!!|\?\?\?\+?)[ \t]+[\w -]+$"
    r"|/{3,}[ \t]*(?!html\b)[\w-]+[ \t]*\|[ \t]*(?P<heading>.*)$"
    r"|/{3,}(?:[ \t]*[\w-]+(?:[ \t]*\|.*)?)?[ \t]*$"
    r"|(?P<abbreviation>\*\[[^\[\]]+\]:[ \t]*)(?P<meaning>.*)$"
    r"|(?:\{\{[<%].*[>%]\}\}|\{%.*%\})\s*$"
    r"|\[(?:TOC|\[_?TOC_?\])\]\s*$"
    r"|\{:?[ \t]*[.#][^{}]*\}\s*$"
)
_FORMULA: Final = r"(?:[\^_=+{}<>/\d]|\\[A-Za-z])"
_INLINE: Final = re.compile(
    r"\{\{.{0,999}?\}\}|\{%.{0,999}?%\}|!\[\[[^\[\]\n]+\]\]|\[\[[^\[\]|\n]+\]\]"
    # escaped brackets are mathematics if signs or commands of it are in them; writers of Markdown
    # escape square ones in text
    rf"|\\\((?=(?:[^\\]|\\[^()]){{0,999}}?{_FORMULA})(?:[^\\]|\\[^()]){{1,999}}\\\)"
    r"|\\\[(?=(?:[^\\]|\\[^\[\]]){0,999}?(?:[\^=]|\\[A-Za-z]))(?:[^\\]|\\[^\[\]]){1,999}\\\]"
    r"|\$\$[^$]+\$\$|\$(?=[^\s$])[^$\n]*(?<=[^\s\\])\$(?![\d$])"
    r"|\{:?[ \t]*[.#][\w-]+(?:[ \t]+[^{}\n]*)?\}|:[a-z0-9_+-]+:(?!\w)",
    re.DOTALL,
)
_MOST_LINES: Final = 200
_MOST_CHARACTERS: Final = 2000
"""Length of what is looked at to find the end of a tag or of mathematics."""
_WIKI: Final = re.compile(r"\[\[[^\[\]|\n]+\|(?=[^\[\]\n]+\]\])")
_STARTS: Final = frozenset("{![$:]\\<")
_SPANNING: Final = (
    (re.compile(r"\$\$"), re.compile(r"\$\$\s*$")),
    (re.compile(r"\\\[\s*$"), re.compile(r"\\\]\s*$")),
    (
        re.compile(r"\\begin\{(?:equation|align|gather|eqnarray)"),
        re.compile(r"\\end\{\w+\*?\}\s*$"),
    ),
)
"""Mathematics over several lines: how it begins, and how its last line ends."""
_MODULE: Final = re.compile(
    r"(?:import|export)\s+(?:[\w*{\"'].*(?:from\s|[\"'][^\"']*[\"'];?$)|(?:default|const|function)\s"
    r"|\{[^}]*$|\*)"
)
"""An import or export of MDX, which ends at a blank line."""
_JSX: Final = re.compile(r"<(?:/?[A-Z][A-Z0-9_.]*[a-z][\w.]*(?=[\s/>]|$)|/?>)")
"""The tag of a component; capitals alone are an old way to write HTML."""


def extensions(markdown: MarkdownIt) -> None:
    """Let ``markdown`` find what it would take for text."""
    markdown.block.ruler.before(
        "code", "kept_line", _line, {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )
    markdown.inline.ruler.before("escape", "kept", _inline)


def _line(state: StateBlock, begin: int, end: int, silent: bool) -> bool:
    if state.is_code_block(begin):
        return False
    first = state.bMarks[begin] + state.tShift[begin]
    line = state.src[first : state.eMarks[begin]]
    if after := _lines(state, begin, end, first, line):
        if not silent:
            _keep(state, begin, after, end)
        return True
    found = _LINE.match(line)
    if not found:
        return False
    if silent:
        return True
    state.line = begin + 1
    name = next((each for each in ("title", "label", "meaning", "heading") if found[each]), "")
    title = found[name] if name else ""
    at = found.start(name) if name else len(line)
    text = title.rstrip(" \t]")
    token = state.push("kept_line", "", 0)
    token.content = line[:at] + line[at + len(text) :] if text else line
    token.map = [begin, begin + 1]
    if text:
        inline = state.push("inline", "", 0)
        inline.content = text
        inline.children = []
        inline.map = [begin, begin + 1]
        column = len(state.src[: first + at]) - (state.src.rfind("\n", 0, first) + 1)
        inline.meta["column"] = column
    if line.startswith(("!!!", "???", "===")):
        _indented(state, begin + 1, end, state.sCount[begin] + 4)
    return True


def _lines(state: StateBlock, begin: int, end: int, first: int, line: str) -> int:
    """The line after those from ``begin`` on that are kept together; 0 if they are none."""
    if _MODULE.match(line):
        after = begin + 1
        while after < end and not state.isEmpty(after):
            after += 1
        return after
    for beginning, ending in _SPANNING:
        found = beginning.match(line)
        if not found:
            continue
        for number in range(begin, min(end, begin + _MOST_LINES)):
            at = first + found.end() if number == begin else state.bMarks[number]
            if ending.search(state.src[at : state.eMarks[number]]):
                return number + 1
    if not _JSX.match(line):
        return 0
    tag = _tag_end(state.src, first, state.eMarks[min(end, begin + _MOST_LINES) - 1])
    for number in range(begin, min(end, begin + _MOST_LINES) if tag else begin):
        if tag <= state.eMarks[number]:
            is_whole = not state.src[tag : state.eMarks[number]].strip()
            return number + 1 if is_whole else 0
    return 0


def _keep(state: StateBlock, begin: int, after: int, end: int) -> None:
    """Add the lines from ``begin`` to ``after`` as they are.

    What is indented after the opening tag of a component is Markdown, however far it is indented.
    """
    token = state.push("kept_line", "", 0)
    token.content = state.getLines(begin, after, state.blkIndent, False)
    token.map = [begin, after]
    state.line = after
    tag = token.content.strip()
    opens = tag.startswith("<") and not tag.startswith("</") and not tag.endswith("/>")
    content = next((n for n in range(after, end) if not state.isEmpty(n)), begin)
    if opens and state.sCount[content] > state.sCount[begin]:
        _indented(state, after, end, state.sCount[content])


def _tag_end(source: str, begin: int, end: int) -> int:
    """The end of the tag of a component from ``begin`` on; 0 if there is none before ``end``."""
    depth, quote = 0, ""
    for i in range(begin, end):
        c = source[i]
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'`":
            quote = c
        elif c in "{}":
            depth += 1 if c == "{" else -1
        elif c == ">" and depth <= 0:
            return i + 1
        elif c == "<" and depth <= 0 and i > begin:
            return 0
    return 0


def _indented(state: StateBlock, begin: int, end: int, indent: int) -> None:
    """Read the lines from ``begin`` on that are indented so far as blocks."""
    last = begin
    for number in range(begin, end):
        if not state.isEmpty(number):
            if state.sCount[number] < indent:
                break
            last = number + 1
    outer = state.blkIndent, state.lineMax
    state.blkIndent, state.lineMax = indent, last
    state.level += 1
    state.md.block.tokenize(state, begin, last)
    state.level -= 1
    (state.blkIndent, state.lineMax), state.line = outer, last


def _inline(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] not in _STARTS:
        return False
    if _JSX.match(state.src, state.pos):
        after = _tag_end(state.src, state.pos, min(state.posMax, state.pos + _MOST_CHARACTERS))
        if after and not silent:
            _push(state, "html_inline", state.src[state.pos : after])
        state.pos = after or state.pos
        return bool(after)
    found = _INLINE.match(state.src, state.pos)
    closing = None
    if not found and (found := _WIKI.match(state.src, state.pos)):
        closing = state.src.index("]]", found.end())
    if not found:
        return False
    if silent:
        state.pos = found.end() if closing is None else closing + 2
        return True
    if closing is None:
        _push(state, "kept", found.group())
        state.pos = found.end()
        return True
    _push(state, "wiki_open", found.group(), nesting=1)
    limit, state.posMax, state.pos = state.posMax, closing, found.end()
    state.md.inline.tokenize(state)
    state.posMax, state.pos = limit, closing + 2
    _push(state, "wiki_close", "]]", nesting=-1)
    return True


def _push(state: StateInline, kind: str, source: str, nesting: Literal[-1, 0, 1] = 0) -> Token:
    token = state.push(kind, "", nesting)
    token.content = source
    token.meta["source"] = source
    return token
