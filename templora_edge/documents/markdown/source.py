"""Source of inline Markdown: what must be escaped, and where lines may end."""

import re
from collections.abc import Sequence
from typing import Final

from templora_edge.documents.markdown.content import BREAK, Content, Markup
from templora_edge.documents.markdown.label import SPECIAL, without_formulas

SPACE: Final = "\0"
"""Stands for a space in markup, where no line may end."""
_SPECIAL: Final = (
    re.compile(r"(?!)"),
    SPECIAL,
)
"""Characters that can be markup anywhere in a text, for each degree of caution."""
_INTERRUPTS: Final = (
    r"#{1,6}(?![^ ])|>|[-+*](?![^ ])|[0-9]{1,9}[.)](?![^ ])|`{3}|~{3}|<[A-Za-z/!?]|"
    r"\[\^[^ \]]+\]:|\*\[|[:~](?![^ ])|:{3}|/{3}|!{3}(?![^ ])|\?{3}|\$\$"
)
"""Beginnings of blocks that can interrupt a paragraph."""
_RULE: Final = re.compile(r"\\?[-_*=:|]+ *")
"""A word that, alone on its line, would be a rule or underline a heading."""
_NO_LINE_START: Final = re.compile(rf"{_INTERRUPTS}|{_RULE.pattern}(?![^ ])")
"""A word that must not begin a line."""
_LINE: Final = re.compile(
    rf"(?P<number>[0-9]{{1,9}})(?=[.)](?![^ ]))|{_INTERRUPTS}|"
    r"(?P<rule>[-_*]) *(?:(?P=rule) *){2,}$|=+ *$|[-:|][-:| ]*$|"  # a break, heading or table
    r"\[[^\]]*\]:|\[![A-Za-z]+\]|\[[ xX]\] "  # a definition, an alert, a task
)
"""Text that would be read as the beginning of a block."""


def markdown(content: Content, caution: int, *, begins_line: bool) -> str:
    """Source of ``content``, with a line end at each hard break.

    Args:
        caution: 0 leaves text as it is, 1 escapes it, 2 also writes emphasis as HTML, and as
            references pipes, which could make a table, and brackets and dollars, which could make a
            formula.
        begins_line: Whether it could be read as the beginning of a block.
    """
    source = ""
    for piece in content:
        if isinstance(piece, Markup):
            source += piece.sources[min(caution, 2)].replace(" ", SPACE)
            begins_line = piece.kind == BREAK
            continue
        text = _SPECIAL[min(caution, 1)].sub(r"\\\g<0>", piece)
        if caution > 1:
            text = without_formulas(text.replace("|", "&#124;"))
        if begins_line and piece.strip(" "):
            text = _as_text(text.lstrip(" "))
            begins_line = False
        source += text
    return re.sub(rf" *((?:\\|{SPACE}+)\n) *", r"\1", source).strip(" ")


def words(line: str) -> Sequence[str]:
    """Words of ``line``; one that must not begin a line is joined to the word before it.

    Nor is one that would be a rule alone on its line.
    """
    joined: list[str] = []
    before = ""
    for word in re.findall(r"[^ ]+ *", line):
        if joined and (_NO_LINE_START.match(word) or _RULE.fullmatch(before)):
            joined[-1] += word
        else:
            joined.append(word)
        before = word
    return joined


def _as_text(text: str) -> str:
    """``text``, escaped if it would be read as the beginning of a block."""
    block = _LINE.match(text)
    if not block:
        return text
    at = len(block["number"] or "")
    return f"{text[:at]}\\{text[at:]}"
