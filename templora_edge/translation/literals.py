"""What a translation keeps as it is: addresses, variables, code, mathematics, speakers' names.

A model is shown a placeholder instead of each one; what stands at the ends of a segment, such as
the name of a speaker, it is not shown at all.
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

from templora_edge.documents.markup import PLACEHOLDER
from templora_edge.translation.prompt import Pair

_CODE: Final = r"``[^\n]+?``|`[^`\n]+`"
_MATH: Final = (
    r"\$\$[^$\n]+\$\$|\\\([^\n]+?\\\)|\\\[[^\n]+?\\\]|"
    r"\$(?![\s\d.,]+\$)(?=\S)[^$\n]*?[^\s$\\]\$(?![\w])"
)
_VARIABLE: Final = (
    r"\{\{[^{}\n]*\}\}|\{%[^\n]*?%\}|\$\{[^{}\n]+\}|\{[\w.:!>\[\]-]*\}|%\(\w+\)[-+ 0#]*[\d.]*[a-z]|"
    r"%\d+\$[-+0#]*[\d.]*[a-z@]|(?<!\d)(?<!\d[ \u00a0\u202f])"
    r"%[-+0#]*[\d.]*(?:l{0,2}[diu]|[sfxXeEgG@])(?![^\W_])|"
    r"(?<![\w%])(?<!\d[ \u00a0\u202f])%L?\d{1,2}(?![\w%])|"
    r"(?<!\w)%[A-Z_][A-Z_0-9]+%|(?<![\w$])\$[A-Za-z_]\w+"
)
_TAG: Final = r"<\|[^|<>\s]+\|>|</?[A-Za-z][\w.:-]*(?:\s[^<>\n]*)?/?>|&(?:#\d+|#x[0-9a-fA-F]+|\w+);"
_EMAIL: Final = r"(?:mailto:)?[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
_TOP: Final = r"(?:com|org|net|edu|gov|info|io|fr|de|uk|us|es|it|be|ch|ca|eu|nl|pt|jp|cn|ru|br)"
_URL: Final = (
    r"(?:[a-z][a-z0-9+.-]*://|www\.)[^\s<>«»“”\"`]+|"
    rf"(?<![\w@.-])(?:[a-z0-9-]+\.)+{_TOP}(?![\w-])(?:[/?#:][^\s<>«»“”\"`]*)?"
)
_PATH: Final = r"(?<![\w.~/])(?:~|\.{1,2})?/[\w.-]+(?:/[\w.-]+)+/?|(?<!\w)[A-Z]:\\[^\s\"*?<>|]+"
_HANDLE: Final = r"(?<![\w@])@\w{2,}|(?<=[\s(])#[^\W\d_]\w+"
_LITERAL: Final = re.compile(
    "|".join((_CODE, _MATH, _EMAIL, _URL, _VARIABLE, _TAG, _PATH, _HANDLE, "[♪♫♬]+"))
)
_AFTER_URL: Final = ".,;:!?…'’*_"
"""Characters that end the sentence around an address and not the address."""
_NAME: Final = r"[^\W\d_a-z][^\Wa-z_]*[.]?"
_SPEAKER: Final = rf"(?=[^\W_]{{2}}){_NAME}(?:[ '’-]{_NAME}){{0,2}}[ \u00a0\u202f]?:(?=\s)"
_BEFORE: Final = re.compile(rf"\s*(?:(?:[♪♫♬]+|-(?=\s*[^\W\d_])|>>+|{_SPEAKER})\s*)+")
_AFTER: Final = re.compile(r"(?:\s*[♪♫♬]+)+\s*$")


@dataclass(frozen=True, slots=True)
class Literals:
    """A segment and how it is shown to a model."""

    shown: str
    """The segment with a placeholder for each literal, and without what stands at its ends."""
    before: str
    after: str
    kept: dict[str, str]
    """Placeholder -> literal."""
    spaced: frozenset[str]
    """Placeholders that stand between spaces."""

    @classmethod
    def of(cls, source: str) -> "Literals":
        """Take the literals out of ``source``."""
        before, text, after = _without_ends(source)
        number = max((int(m[2]) for m in PLACEHOLDER.finditer(source)), default=0)
        kept: dict[str, str] = {}
        spaced: set[str] = set()
        shown, end = "", 0
        for begin, literal in _found(text):
            mark = f"<{number + len(kept) + 1}/>"
            kept[mark] = literal
            stop = begin + len(literal)
            if text[:begin][-1:].strip() == "" and not text[stop : stop + 1].isalnum():
                spaced.add(mark)
            shown += text[end:begin] + mark
            end = stop
        return cls(shown + text[end:], before, after, kept, frozenset(spaced))

    def hidden(self, answer: str) -> str:
        """``answer`` with a placeholder for each literal that the model wrote out itself."""
        for mark, literal in self.kept.items():
            if mark not in answer:
                answer = answer.replace(literal, mark, 1)
        return answer

    def restored(self, answer: str) -> str:
        """``answer`` with each literal instead of its placeholder, and with the segment's ends."""
        for mark, literal in self.kept.items():
            left, found, right = answer.partition(mark)
            if found and mark in self.spaced:
                left += " " if left[-1:].isalnum() else ""
                right = " " * right[:1].isalnum() + right
            answer = left + (literal if found else "") + right
        return self.before + answer + self.after


def shown_pair(pair: Pair) -> Pair:
    """``pair`` as a model is shown it, which is how `Literals.of` shows a segment to translate.

    A pair whose translation lacks a literal stays as it is.
    """
    literals = Literals.of(pair.source)
    if lost(pair.source, pair.translation):
        return pair
    text = pair.translation.removeprefix(literals.before).removesuffix(literals.after)
    return Pair(literals.shown, literals.hidden(text))


def lost(source: str, translation: str) -> list[str]:
    """Literals of ``source`` that occur in ``translation`` less often."""
    before, text, after = _without_ends(source)
    wanted = Counter(literal for _, literal in _found(text))
    ends = (*before.split(), *after.split())
    wanted.update(name for end in ends if (name := end.strip("-:")))
    return [literal for literal, n in wanted.items() if translation.count(literal) < n]


def without_literals(text: str) -> str:
    """``text`` with a space for each literal."""
    for begin, literal in reversed(_found(text)):
        text = f"{text[:begin]} {text[begin + len(literal) :]}"
    return text


def _without_ends(source: str) -> tuple[str, str, str]:
    """What stands before the text of ``source``, the text, and what stands after it."""
    opening = _BEFORE.match(source)
    before = opening[0] if opening else ""
    closing = _AFTER.search(source, len(before))
    after = closing[0] if closing else ""
    text = source[len(before) : len(source) - len(after)]
    return (before, text, after) if any(map(str.isalpha, text)) else ("", source, "")


def _found(text: str) -> list[tuple[int, str]]:
    """The literals of ``text`` with their places."""
    found = []
    for match in _LITERAL.finditer(text):
        literal = match[0]
        if literal[-1] in _AFTER_URL + ")]" and not literal.startswith(("`", "$", "\\", "&", "{")):
            while literal and (
                literal[-1] in _AFTER_URL
                or (literal[-1] in ")]" and literal.count(")") > literal.count("("))
            ):
                literal = literal[:-1]
        if literal and not PLACEHOLDER.fullmatch(literal):
            found.append((match.start(), literal))
    return found
