"""Inline Markdown: what is written, and what it is read as."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from markdown_it.token import Token

from templora_edge.documents.markdown.label import Label, PlainText

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
_TITLE: Final = re.compile(
    r"\s(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\((?:[^()\\]|\\.)*\))\s*\)$", re.DOTALL
)
"""Title of a link and what follows it."""
_BREAK_TAG: Final = re.compile(r"<br\s*/?>", re.IGNORECASE)
_NEWLINE: Final = re.compile(r"[ \t]*\n[ \t]*")


@dataclass(frozen=True, slots=True)
class Markup:
    """Inline markup: what is written for it, and what that is read as."""

    sources: tuple[str, str, str]
    """Its source at each degree of caution; see `source.markdown`."""
    atoms: tuple[Atom, ...]
    labels: tuple[Label, ...] = ()

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
        if token.type == "image":
            source = f"![{token.content}{source}"
        source = _NEWLINE.sub(" ", source)
        return cls((source, source, source), found, tuple(_labels(token)))

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
    def is_break(self) -> bool:
        """Whether this markup is a line break and nothing else."""
        return len(self.atoms) == 1 and (
            self.kind == BREAK or _BREAK_TAG.fullmatch(self.sources[0]) is not None
        )

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
        labels = (replace(each, atom=each.atom + len(self.atoms)) for each in other.labels)
        return Markup((first, second, third), self.atoms + other.atoms, (*self.labels, *labels))

    def relabelled(self, texts: Sequence[str]) -> "Markup":
        """The same markup with ``texts`` instead of those of its labels."""
        atoms = list(self.atoms)
        sources = list(self.sources)
        begins = [0] * len(sources)
        for label, text in zip(self.labels, texts, strict=True):
            is_same = text == label.plain.original
            new, value = (label.source, "") if is_same else label.written(text)
            for k, source in enumerate(sources):
                at = source.index(label.source, begins[k])
                sources[k] = source[:at] + new + source[at + len(label.source) :]
                begins[k] = at + len(new)
            if not is_same:
                values = list(atoms[label.atom])
                values[label.value] = value
                atoms[label.atom] = tuple(values)
        first, second, third = sources
        return replace(self, sources=(first, second, third), atoms=tuple(atoms))


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


def _labels(token: Token) -> Iterator[Label]:
    """The texts in ``token``: of an image, of the end of a link."""
    children = token.children or ()
    if token.type == "image" and not any(child.type == "image" for child in children):
        alt = "".join(
            " " if child.type.endswith("break") else child.content
            for child in children
            if child.type != "html_inline"
        )
        yield Label(_NEWLINE.sub(" ", f"![{token.content}]"), PlainText(alt), 1)
    title = token.attrs.get("title")
    found = _TITLE.search(token.meta.get("source", "")) if title else None
    if found:
        label = _NEWLINE.sub(" ", found.group())
        yield Label(label, PlainText(str(title)), len(token.attrs) + 1)


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
