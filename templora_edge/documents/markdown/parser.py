"""Markdown as tokens: CommonMark, GitHub's extensions, footnotes.

An inline token whose source cannot be made again from its fields has it in ``meta["source"]``: the
whole of code and autolinks, what follows the text of a link or an image, and a hard break's
backslash.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.helpers import parseLinkDestination, parseLinkLabel, parseLinkTitle
from markdown_it.parser_inline import RuleFuncInlineType
from markdown_it.rules_inline import (
    StateInline,
    autolink,
    backtick,
    escape,
    image,
    link,
)
from markdown_it.token import Token
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.footnote import footnote_plugin

from templora_edge.documents.markdown import front_matter
from templora_edge.documents.markdown.extensions import extensions

DEEPEST: Final = 100
"""Levels of nesting that nobody writes by hand."""
_MOST_SEARCHED: Final = 5_000_000
"""Characters in which the ends of brackets were looked for in vain, about half a second."""
_NOT_BREAKS: Final = str.maketrans("\r\v\f", "   ")
"""Characters that do not end a line here."""


class MarkdownParser:
    """Parses lines into tokens."""

    def __init__(self) -> None:
        self._markdown = MarkdownIt(
            "commonmark",
            {
                "maxNesting": DEEPEST,
                "tasklists": True,
                "alerts": True,
                "strikethrough_single_tilde": True,
                "inline_definitions": True,
            },
        ).enable(["table", "strikethrough"])
        # footnotes stay where they are; the text of an inline one is a part of its sentence; the
        # definition of a mark may be in another file
        self._markdown.use(footnote_plugin, inline=False, move_to_end=False, always_match_refs=True)
        self._markdown.use(deflist_plugin)
        self._markdown.use(extensions)
        self._markdown.helpers = SimpleNamespace(  # type: ignore[assignment]  # a module there
            parseLinkDestination=parseLinkDestination,
            parseLinkLabel=_label_end,
            parseLinkTitle=parseLinkTitle,
        )
        inline = self._markdown.inline.ruler
        inline.at("link", _link)
        inline.at("image", _image)
        for name, rule in (("autolink", autolink), ("backticks", backtick), ("escape", escape)):
            inline.at(name, _recorded(rule))

    def tokens(self, lines: Sequence[str]) -> list[Token]:
        """Tokens of ``lines``; front matter has none, but its lines are counted."""
        n_front = front_matter.n_lines(lines)
        source = [line.removesuffix("\r").translate(_NOT_BREAKS) for line in lines[n_front:]]
        return self._markdown.parse("\n" * n_front + "\n".join(source))


def _recorded(rule: RuleFuncInlineType) -> RuleFuncInlineType:
    """``rule``, which also notes the source of what it finds."""

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
        closing = state.tokens[-1]
        closing.meta["source"] = _target(state, begin, is_image=False)
        opening = next(
            token
            for token in reversed(state.tokens)
            if token.type == "link_open" and token.level == closing.level
        )
        _take_title(opening, closing)
    return found


def _image(state: StateInline, silent: bool) -> bool:
    begin = state.pos
    found = image(state, silent)
    if found and not silent:
        token = state.tokens[-1]
        token.meta["source"] = _target(state, begin + 1, is_image=True)
        _take_title(token, token)
    return found


def _label_end(state: StateInline, start: int, disable_nested: bool = False) -> int:
    """Where the label that begins at ``start`` ends; -1 where it does not.

    The library looks through all that follows for each bracket that is never closed. After
    `_MOST_SEARCHED` such characters of a file, brackets are text.
    """
    if state.env.get("searched", 0) > _MOST_SEARCHED:
        return -1
    end = parseLinkLabel(state, start, disable_nested)
    if end < 0:
        state.env["searched"] = state.env.get("searched", 0) + state.posMax - start
    return end


def _take_title(token: Token, holder: Token) -> None:
    """Let ``holder`` have the title of ``token`` if it stands there and not in a definition."""
    title = token.attrs.pop("title", "")
    if title and holder.meta["source"].startswith("]("):
        holder.attrs["title"] = title


def _target(state: StateInline, begin: int, *, is_image: bool) -> str:
    """The source after the text of a link from ``begin`` to the position of ``state``.

    A reference by the text alone becomes one by label, as the text will change.
    """
    end = state.md.helpers.parseLinkLabel(state, begin, not is_image)
    target = state.src[end : state.pos]
    return f"][{state.src[begin + 1 : end]}]" if target in {"]", "][]"} else target
