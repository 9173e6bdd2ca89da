"""Markdown as tokens: CommonMark, GitHub's extensions, footnotes.

An inline token whose source cannot be made again from its fields has it in ``meta["source"]``: the
whole of code, images and autolinks, what follows the text of a link, and a hard break's backslash.
"""

import re
from collections.abc import Sequence
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.parser_inline import RuleFuncInlineType
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import (
    StateInline,
    autolink,
    backtick,
    escape,
    image,
    link,
)
from markdown_it.token import Token

FOOTNOTE: Final = re.compile(r"\[\^[^\s\[\]]+\]")
DEEPEST: Final = 100
"""Nesting beyond which nobody wrote it."""
_FOOTNOTE_INDENT: Final = 4
"""Columns by which the later lines of a footnote are indented."""
_FRONT_MATTER: Final = {"---": ("---", "..."), "+++": ("+++",)}
"""How YAML and TOML begin and end."""
_NOT_BREAKS: Final = str.maketrans("\r\v\f", "   ")
"""What ends no line here."""


class MarkdownParser:
    """Makes tokens of lines."""

    def __init__(self) -> None:
        self._markdown = MarkdownIt(
            "commonmark",
            {
                "maxNesting": DEEPEST,
                "tasklists": True,
                "alerts": True,
                "strikethrough_single_tilde": True,
            },
        ).enable(["table", "strikethrough"])
        block, inline = self._markdown.block.ruler, self._markdown.inline.ruler
        block.before("reference", "footnote", _footnote, {"alt": ["paragraph", "reference"]})
        inline.before("link", "footnote", _footnote_mark)
        inline.at("link", _link)
        inline.at("image", _image)
        for name, rule in (("autolink", autolink), ("backticks", backtick), ("escape", escape)):
            inline.at(name, _recorded(rule))

    def tokens(self, lines: Sequence[str]) -> list[Token]:
        """Tokens of ``lines``, which are counted from 0; those of front matter have none."""
        n_front = _front_matter(lines)
        source = [line.removesuffix("\r").translate(_NOT_BREAKS) for line in lines[n_front:]]
        return self._markdown.parse("\n" * n_front + "\n".join(source))


def _front_matter(lines: Sequence[str]) -> int:
    """Number of lines of metadata before the text; a thematic break has a blank line after it."""
    ends = _FRONT_MATTER.get(lines[0].rstrip())
    if ends and len(lines) > 1 and lines[1].strip():
        for index, line in enumerate(lines[1:], 1):
            if line.rstrip() in ends:
                return index + 1
    return 0


def _recorded(rule: RuleFuncInlineType) -> RuleFuncInlineType:
    """``rule``, which also writes down the source of what it found."""

    def recorded(state: StateInline, silent: bool) -> bool:
        begin, n_tokens = state.pos, len(state.tokens)
        found = rule(state, silent)
        if len(state.tokens) > n_tokens:
            state.tokens[-1].meta["source"] = state.src[begin : state.pos]
        return found

    return recorded


def _link(state: StateInline, silent: bool) -> bool:
    begin = state.pos
    found = link(state, silent)
    if found and not silent:
        state.tokens[-1].meta["source"] = _target(state, begin, is_image=False)
    return found


def _image(state: StateInline, silent: bool) -> bool:
    begin = state.pos
    found = image(state, silent)
    if found and not silent:
        token = state.tokens[-1]
        token.meta["source"] = f"![{token.content}{_target(state, begin + 1, is_image=True)}"
    return found


def _target(state: StateInline, begin: int, *, is_image: bool) -> str:
    """What follows the text of the link that begins at ``begin`` and ends where ``state`` is.

    A reference by the text alone names it, for the text will be another one.
    """
    end = state.md.helpers.parseLinkLabel(state, begin, not is_image)
    target = state.src[end : state.pos]
    return f"][{state.src[begin + 1 : end]}]" if target in {"]", "][]"} else target


def _footnote_mark(state: StateInline, silent: bool) -> bool:
    """``[^1]``."""
    match = FOOTNOTE.match(state.src, state.pos, state.posMax)
    if not match:
        return False
    if not silent:
        state.push("footnote_mark", "", 0).content = match.group()
    state.pos = match.end()
    return True


def _footnote(state: StateBlock, begin: int, end: int, silent: bool) -> bool:
    """``[^1]: `` and the blocks in it, as in a list item."""
    if state.is_code_block(begin):
        return False
    start = state.bMarks[begin] + state.tShift[begin]
    label = FOOTNOTE.match(state.src, start, state.eMarks[begin])
    if not label or not state.src.startswith(":", label.end(), state.eMarks[begin]):
        return False
    if silent:
        return True
    saved = state.bMarks[begin], state.tShift[begin], state.sCount[begin], state.parentType
    state.push("footnote_open", "", 1).info = label.group()
    state.blkIndent += _FOOTNOTE_INDENT
    text = state.skipSpaces(label.end() + 1)
    state.bMarks[begin], state.tShift[begin] = text, 0
    state.sCount[begin] = state.blkIndent
    state.parentType = "footnote"
    state.md.block.tokenize(state, begin, end)
    state.push("footnote_close", "", -1)
    state.blkIndent -= _FOOTNOTE_INDENT
    state.bMarks[begin], state.tShift[begin], state.sCount[begin], state.parentType = saved
    return True
