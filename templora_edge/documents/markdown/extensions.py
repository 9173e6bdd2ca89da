"""Constructs of other Markdown programs, which are kept as they are.

Lines: fences of containers (`:::`), admonitions (`!!!`, `???`), imports and exports of MDX,
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
    r"|(?:import|export)\s+(?:[\w*{\"'].*(?:from\s|[\"'][^\"']*[\"'];?$)|(?:default|const|function)\s.*)"
    r"|(?:\{\{[<%].*[>%]\}\}|\{%.*%\})\s*$"
    r"|\[(?:TOC|\[_?TOC_?\])\]\s*$"
    r"|\{:?[ \t]*[.#][^{}]*\}\s*$"
)
_INLINE: Final = re.compile(
    r"\{\{.*?\}\}|\{%.*?%\}|!\[\[[^\[\]\n]+\]\]|\[\[[^\[\]|\n]+\]\]"
    r"|\$\$[^$]+\$\$|\$(?=[^\s$])[^$\n]*(?<=[^\s\\])\$(?![\d$])"
    r"|\{:?[ \t]*[.#][\w-]+(?:[ \t]+[^{}\n]*)?\}|:[a-z0-9_+-]+:(?!\w)",
    re.DOTALL,
)
_WIKI: Final = re.compile(r"\[\[[^\[\]|\n]+\|(?=[^\[\]\n]+\]\])")
_STARTS: Final = frozenset("{![$:]")


def extensions(markdown: MarkdownIt) -> None:
    """Let ``markdown`` find what it would take for text."""
    markdown.block.ruler.before(
        "code", "kept_line", _line, {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )
    markdown.inline.ruler.before("link", "kept", _inline)


def _line(state: StateBlock, begin: int, end: int, silent: bool) -> bool:
    if state.is_code_block(begin):
        return False
    first = state.bMarks[begin] + state.tShift[begin]
    line = state.src[first : state.eMarks[begin]]
    found = _LINE.match(line)
    if not found:
        return False
    if silent:
        return True
    state.line = begin + 1
    title = found["title"] or found["label"] or ""
    at = found.start("title" if found["title"] else "label") if title else len(line)
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
        _indented(state, begin + 1, end)
    return True


def _indented(state: StateBlock, begin: int, end: int) -> None:
    """Read the indented lines from ``begin`` on as blocks, as they belong to an admonition."""
    indent = state.sCount[begin - 1] + 4
    last = begin
    for number in range(begin, end):
        if not state.isEmpty(number):
            if state.sCount[number] < indent:
                break
            last = number + 1
    outer, state.blkIndent = state.blkIndent, indent
    state.md.block.tokenize(state, begin, last)
    state.blkIndent, state.line = outer, last


def _inline(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] not in _STARTS:
        return False
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
