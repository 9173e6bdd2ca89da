"""The words of a document, sentence by sentence, with what tells a name from another word."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from unicodedata import category

from templora_edge.documents.markup import PLACEHOLDER
from templora_edge.sentences import sentences

TITLES: Final = frozenset(
    "m mm mr mrs ms mme mmes mlle mlles mgr me dr prof st ste sir lord lady miss mister messrs "  # noqa: SIM905
    "monsieur madame mademoiselle messieurs mesdames monseigneur herr frau fräulein frl hr "
    "señor señora señorita sr sra srta don doña signor signora signorina sig dom senhor senhora "
    "capt col gen lt captain colonel general lieutenant major doctor".split()
)
"""Words in small letters that are no names themselves, but a part of the name that follows.

A full stop after one ends no sentence."""
_ELIDED: Final = {
    "fr": "l d j m t s c n qu jusqu lorsqu puisqu quoiqu",
    "it": "l d un dell all nell sull dall quell quest c s m t v gl degl agl",
    "ca": "l d s m n t",
}
"""Words before an apostrophe that are words of their own, by language."""
_MARKS: Final = "".join(c for c in map(chr, range(0x300, 0x1200)) if category(c)[0] == "M")
"""Vowel signs and the like, which are part of the word."""
_HAN: Final = r"\u3005\u3400-\u9fff\uf900-\ufaff"
_KATAKANA: Final = r"\u30a1-\u30fa\u30fc"
_HIRAGANA: Final = r"\u3041-\u309f"
_SPACED: Final = rf"(?:(?![{_HAN}{_KATAKANA}{_HIRAGANA}])[^\W\d_][{_MARKS}]*)+"
_TERM_WORD: Final = re.compile(rf"{_SPACED}(?:[-‐‑'’]{_SPACED})*|[{_KATAKANA}]+|[{_HAN}]")
"""A word; without spaces between words, a Chinese character or a row of Katakana.

Hiragana, the grammar of Japanese, is left out."""
_ELISION: Final = re.compile(r"([^\W\d_]+)['’](?=[^\W\d_])")
_PRONOUN: Final = re.compile(r"[iI]['’](?:m|ll|ve|d|s)")
_POSSESSIVE: Final = re.compile(r"['’][sS]$")
_WITHIN: Final = re.compile(r"\s*[,;]?\s+|")
"""What stands between two words of a sentence where the second begins nothing."""
_AFTER_TITLE: Final = re.compile(r"\.?[ \u00a0\u202f]?")
_SPACE: Final = re.compile(r"[ \u00a0\u202f・＝·]|")
_LINE_ENDS: Final = re.compile(r"[\n\t]")
_HEADING_WORDS: Final = 12
"""Most words of a line that may be a heading."""
_STOPPED: Final = re.compile(r"[.!?…:;,»”\"]\s*$")


@dataclass(frozen=True, slots=True)
class TermWord:
    """A word in its sentence."""

    text: str
    """The word without an elided article before it, or a possessive ending."""
    begin: int
    """Its place in the sentence."""
    begins: bool
    """Whether it begins a sentence, a quotation or the like, where any word is capitalised."""
    joins: bool
    """Whether nothing but a space stands between the word before and this one."""
    elided: bool = False
    """Whether an apostrophe ends it, as in l'."""

    @property
    def small(self) -> str:
        """The word in small letters."""
        return self.text.lower()

    @property
    def end(self) -> int:
        """Where it ends in the sentence."""
        return self.begin + len(self.text)

    @property
    def is_capitalised(self) -> bool:
        """Whether a part of it begins with a capital letter; a single letter is no word."""
        return len(self.text) > 1 and any(
            part[:1].isupper() for part in re.split(r"[-‐‑'’]", self.text)
        )


@dataclass(frozen=True, slots=True)
class TermSentence:
    """A sentence and its words."""

    text: str
    words: tuple[TermWord, ...]


def term_sentences(paragraphs: Sequence[str], language: str) -> list[TermSentence]:
    """The sentences of a document, without headings in capitals.

    Args:
        paragraphs: texts of the document, with placeholders.
        language: BCP 47 tag of the document.
    """
    elided = frozenset(_ELIDED.get(language.lower().partition("-")[0], "").split())
    lines = (
        line
        for paragraph in paragraphs
        for line in _LINE_ENDS.split(PLACEHOLDER.sub("", paragraph))
    )
    return [
        TermSentence(text, tuple(_words(text, elided)))
        for line in lines
        if not _is_heading(line)
        for text in map(str.strip, sentences(line))
    ]


def _is_heading(line: str) -> bool:
    """Whether ``line`` is in capitals, or has no end and a capital at each longer word."""
    words = _TERM_WORD.findall(line)
    short = 2 < len(words) <= _HEADING_WORDS and not _STOPPED.search(line)
    return line.isupper() or (short and all(w[0].isupper() for w in words if len(w) > 3))


def _words(text: str, elided: frozenset[str]) -> Iterator[TermWord]:
    end, after_title = 0, False
    for match in _TERM_WORD.finditer(text):
        gap, begin, rest = text[end : match.start()], match.start(), match.group()
        begins = end == 0 or (_AFTER_TITLE if after_title else _WITHIN).fullmatch(gap) is None
        joins = end > 0 and (_AFTER_TITLE if after_title else _SPACE).fullmatch(gap) is not None
        while (head := _ELISION.match(rest)) and head[1].lower() in elided:
            yield TermWord(head[1], begin, begins, joins, elided=True)
            rest, begin = rest[head.end() :], begin + head.end()
            begins, joins = False, True
        if _PRONOUN.fullmatch(rest):
            rest = rest[:1]
        word = TermWord(_POSSESSIVE.sub("", rest), begin, begins, joins)
        yield word
        end, after_title = match.end(), word.small in TITLES or len(word.text) == 1
