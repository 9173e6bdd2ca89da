"""Inline Markdown: what is written, and what it is read as."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from markdown_it.token import Token

Atom = str | tuple[str, ...]
"""Text as it is read, or the kind and the values of anything else."""
WHITE: Final = re.compile(r"[ \t\n\r\v\f]+")
"""White space that is displayed as one space."""
BREAK: Final = "hardbreak"
_EMPHASIS: Final = {
    f"<{slash}{tag}>": f"{tag}_{end}"
    for tag in ("em", "strong", "s")
    for slash, end in (("", "open"), ("/", "close"))
}
"""Tags for emphasis whose delimiters would not be read as such -> its kind."""
_NEWLINE: Final = re.compile(r"[ \t]*\n[ \t]*")


@dataclass(frozen=True, slots=True)
class Markup:
    """Inline markup: what is written for it, and what that is read as."""

    sources: tuple[str, str, str]
    """Its source at each degree of caution; see `source.markdown`."""
    atoms: tuple[Atom, ...]

    @classmethod
    def of(cls, *tokens: Token) -> "Markup":
        """Markup of one token, or of several whose source `parser` noted in the last."""
        token = tokens[-1]
        found = tuple(atoms(tokens))
        if token.type == BREAK:
            source = "\\\n" if "source" in token.meta else "  \n"
            return cls((source, "\\\n", "\\\n"), found)
        if token.type in _EMPHASIS.values():
            tag = f"<{'/' if token.nesting < 0 else ''}{token.tag}>"
            return cls((token.markup, token.markup.replace("_", "*"), tag), found)
        source = "[" if token.type == "link_open" else token.meta.get("source", _content(token))
        source = _NEWLINE.sub(" ", source)
        return cls((source, source, source), found)

    @classmethod
    def space(cls, text: str) -> "Markup":
        """White space; as character references where it would be stripped from a line."""
        source = "".join(c if c == " " else f"&#{ord(c)};" for c in text)
        return cls((source, source, source), (text,))

    @property
    def kind(self) -> str:
        """Kind of its first atom."""
        first = self.atoms[0]
        return "text" if isinstance(first, str) else first[0]

    @property
    def is_blank(self) -> bool:
        """Whether this markup is invisible at the end of a paragraph: a space or a hard break."""
        return self.kind == BREAK or self.sources[0] == " "

    @property
    def is_emphasis(self) -> bool:
        """Whether this markup begins or ends emphasis."""
        return self.kind in _EMPHASIS.values()

    def __add__(self, other: "Markup") -> "Markup":
        first, second, third = (a + b for a, b in zip(self.sources, other.sources, strict=True))
        return Markup((first, second, third), self.atoms + other.atoms)


Content = Sequence[str | Markup]
"""Unescaped text, and the markup between."""


def atoms(tokens: Iterable[Token]) -> Iterator[Atom]:
    """Text and markup in ``tokens``, piece by piece; `tidy` makes them comparable."""
    for token in tokens:
        if token.type == "text":
            yield token.content
        elif token.type == "softbreak":
            yield " "
        elif token.type == "html_inline" and token.content in _EMPHASIS:
            yield (_EMPHASIS[token.content], "")
        else:
            values = (str(value) for value in (_content(token), *token.attrs.values()))
            yield (token.type, *(WHITE.sub(" ", value) for value in values))


def _content(token: Token) -> str:
    """Content of ``token``; a footnote mark has only a label."""
    return f"[^{token.meta['label']}]" if token.type == "footnote_ref" else token.content


def tidy(found: Iterable[Atom]) -> list[Atom]:
    """``found`` with neighbouring texts joined and only the white space that is displayed."""
    tidied: list[Atom] = []
    for atom in found:
        last = tidied[-1] if tidied else ()
        if isinstance(atom, str) and isinstance(last, str):
            tidied[-1] = last + atom
        else:
            tidied.append(atom)
    for index, atom in enumerate(tidied):
        if isinstance(atom, str):
            text = WHITE.sub(" ", atom)
            if index == 0 or tidied[index - 1][0] == BREAK:
                text = text.lstrip()
            if index == len(tidied) - 1 or tidied[index + 1][0] == BREAK:
                text = text.rstrip()
            tidied[index] = text
    return [atom for atom in tidied if atom]


HARD_BREAK: Final = Markup.of(Token(BREAK, "br", 0, meta={"source": "\\\n"}))
BREAK_TAG: Final = Markup.of(Token("html_inline", "", 0, content="<br>"))
"""A line break where a paragraph can have only one line."""
