"""Cuts paragraphs into segments, at sentence ends where possible, and joins them again.

Segments end at each line break and tab of a paragraph, whose translation has it between the same
segments.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from templora_edge.documents.markup import PLACEHOLDER, closed, merged, with_markup_of
from templora_edge.sentences import CJK, CLOSING, sentence_ends

_LETTERS: Final = re.compile(r"[^\W\d_]+")
_ROMAN: Final = re.compile("M{0,3}(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})")
_CLAUSE_END: Final = re.compile(rf"[;:,，、；：—–]+{CLOSING}\s*")
_WORD_END: Final = re.compile(r"\s+")
_LINE_END: Final = re.compile(r"(?<!\s)\s*[\n\t]\s*")
_NO_CONTENT: Final = re.compile(r"\s+|</?[0-9]+>")
"""White space, and the ends of spans."""
_ANYWHERE: Final = re.compile(r"(?<=.)(?=.)", re.DOTALL)


def has_words(text: str) -> bool:
    """Whether ``text`` has words to translate, unlike ``* * *``, ``1866``, ``XIV.``, ``<1/>``."""
    words = _LETTERS.findall(PLACEHOLDER.sub(" ", text))
    return not all(_ROMAN.fullmatch(word) for word in words)


def segments(paragraph: str, fits: Callable[[str], bool]) -> list[str]:
    """The segments of ``paragraph``: each fits, stays on one line, and closes its own spans.

    Args:
        paragraph: text to cut.
        fits: whether a piece is short enough for the model.
    """
    lines = _cut(paragraph, _ends(_LINE_END)(paragraph))
    pieces = closed([piece for line in lines for piece in split(line, fits)])
    return [piece.strip() for piece in pieces if _NO_CONTENT.sub("", piece)]


def assembled(paragraph: str, pairs: Sequence[tuple[str, str]]) -> str:
    """The translation of ``paragraph``, with its placeholders, line breaks and tabs.

    Args:
        paragraph: the source.
        pairs: its segments and their translations. What markup one of these has lost is placed
            anew within it.
    """
    left = iter(pairs)
    whole = ""
    begin = 0
    for end in (*_LINE_END.finditer(paragraph), None):
        line = paragraph[begin : end.start() if end else None]
        n_whole, gap = _gaps(line)
        n_done = 0
        translated: list[str] = []
        while n_done < n_whole and (pair := next(left, None)) is not None:
            piece = one_line(with_markup_of(*pair))
            if piece:
                is_tight = not translated or CJK.match(translated[-1][-1])
                translated += [piece] if is_tight else [gap(n_done), piece]
            n_done += len(_NO_CONTENT.sub("", pair[0]))
        whole += "".join(translated) + (end.group() if end else "")
        begin = end.end() if end else len(paragraph)
    return with_markup_of(paragraph, merged(whole))


def one_line(translation: str) -> str:
    """The translation of a segment without line breaks and tabs, at which segments end."""
    return _LINE_END.sub(" ", translation).strip()


def _gaps(line: str) -> tuple[int, Callable[[int], str]]:
    """How much content ``line`` has, and what stands between two segments after how much of it.

    That is a space, the white space that is there if it is of another kind, or nothing where there
    is none in a script that has spaces.
    """
    content = _NO_CONTENT.sub("", line)
    spaces: dict[int, str] = {}
    removed = 0
    for match in _NO_CONTENT.finditer(line):
        if match[0].isspace():
            n = match.start() - removed
            spaces[n] = spaces.get(n, "") + match[0]
        removed += len(match[0])

    def gap(n: int) -> str:
        if n in spaces:
            return spaces[n] if spaces[n].strip(" ") else " "
        return " " if CJK.match(content[n - 1]) else ""

    return len(content), gap


def split(paragraph: str, fits: Callable[[str], bool]) -> list[str]:
    """Cut ``paragraph`` into few pieces that the model can take, at sentence ends if possible.

    A sentence that does not fit is cut between clauses, then between words, then anywhere; never
    inside a placeholder, and inside a span only as a last resort.

    Args:
        paragraph: text to cut.
        fits: whether a piece is short enough for the model.
    """
    if fits(paragraph):
        return [paragraph]
    pieces = [paragraph]
    softly = (sentence_ends, _ends(_CLAUSE_END), _ends(_WORD_END))
    for ends, whole_spans in (
        *((ends, True) for ends in softly),
        *((ends, False) for ends in (*softly, _ends(_ANYWHERE))),
    ):
        if all(fits(piece) for piece in pieces):
            break
        finer: list[str] = []
        for piece in pieces:
            if fits(piece):
                finer.append(piece)
            else:
                finer += _cut(piece, _allowed(piece, ends(piece), whole_spans=whole_spans))
        pieces = _packed(finer, fits)
    return pieces


def _packed(pieces: list[str], fits: Callable[[str], bool]) -> list[str]:
    """``pieces`` with neighbours joined as long as they fit."""
    packed: list[str] = []
    for piece in pieces:
        if packed and fits(packed[-1] + piece):
            packed[-1] += piece
        else:
            packed.append(piece)
    return packed


def _cut(text: str, ends: list[int]) -> Iterator[str]:
    for begin, end in pairwise([0, *ends, len(text)]):
        if end > begin:
            yield text[begin:end]


def _ends(pattern: re.Pattern[str]) -> Callable[[str], list[int]]:
    return lambda text: [match.end() for match in pattern.finditer(text)]


def _allowed(text: str, ends: list[int], *, whole_spans: bool) -> list[int]:
    """The ``ends`` that cut no placeholder and, with ``whole_spans``, no span."""
    inside = {i for m in PLACEHOLDER.finditer(text) for i in range(m.start() + 1, m.end())}
    free = [end for end in ends if end not in inside]
    return list(_outside(text, free)) if whole_spans else free


def _outside(text: str, ends: Iterable[int]) -> Iterator[int]:
    """Those of the ascending ``ends`` at which every span of ``text`` is closed."""
    opened: list[str] = []
    begin = 0
    for end in ends:
        for match in PLACEHOLDER.finditer(text, begin, end):
            if match[3]:
                continue
            if not match[1]:
                opened.append(match[2])
            elif not opened or opened.pop() != match[2]:
                return  # not properly nested from here on
        begin = end
        if not opened:
            yield end
