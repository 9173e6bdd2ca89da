"""Markdown as tokens: CommonMark, GitHub's extensions, footnotes.

An inline token whose source cannot be made again from its fields has it in ``meta["source"]``: the
whole of code, images and autolinks, what follows the text of a link, and a hard break's backslash.
"""

from collections.abc import Sequence
from typing import Final

from markdown_it import MarkdownIt
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
from mdit_py_plugins.footnote import footnote_plugin

from templora_edge.documents.markdown.extensions import extensions

DEEPEST: Final = 100
"""Levels of nesting that nobody writes by hand."""
_FRONT_MATTER: Final = {"---": ("---", "..."), "+++": ("+++",)}
"""First lines of YAML and TOML -> their last lines."""
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
            },
        ).enable(["table", "strikethrough"])
        # footnotes stay where they are; the text of an inline one is a part of its sentence; the
        # definition of a mark may be in another file
        self._markdown.use(footnote_plugin, inline=False, move_to_end=False, always_match_refs=True)
        self._markdown.use(extensions)
        inline = self._markdown.inline.ruler
        inline.at("link", _link)
        inline.at("image", _image)
        for name, rule in (("autolink", autolink), ("backticks", backtick), ("escape", escape)):
            inline.at(name, _recorded(rule))

    def tokens(self, lines: Sequence[str]) -> list[Token]:
        """Tokens of ``lines``; front matter has none, but its lines are counted."""
        n_front = _front_matter(lines)
        source = [line.removesuffix("\r").translate(_NOT_BREAKS) for line in lines[n_front:]]
        return self._markdown.parse("\n" * n_front + "\n".join(source))


def _front_matter(lines: Sequence[str]) -> int:
    """Number of lines of metadata before the text; a thematic break has a blank line after it.

    mdit-py-plugins' rule knows no TOML, and takes a text between two thematic breaks for metadata.
    """
    ends = _FRONT_MATTER.get(lines[0].rstrip())
    if ends and len(lines) > 1 and lines[1].strip():
        for index, line in enumerate(lines[1:], 1):
            if line.rstrip() in ends:
                return index + 1
    return 0


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
    """The source after the text of a link from ``begin`` to the position of ``state``.

    A reference by the text alone becomes one by label, as the text will change.
    """
    end = state.md.helpers.parseLinkLabel(state, begin, not is_image)
    target = state.src[end : state.pos]
    return f"][{state.src[begin + 1 : end]}]" if target in {"]", "][]"} else target
