"""Where a generated text ends besides where the model ends it: at stop texts, chapters, a sentence.

Each rule sees the text character by character, so that it makes no difference how the text is cut
into tokens: the first end that is complete counts. What may turn out to be beyond an end is held
back until that is known.
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from templora_edge.errors import OptionError
from templora_edge.sentences import sentence_ends

MOST_HEADING: Final = 80
"""Characters of the longest line that is a chapter's heading."""
MOST_UNENDED: Final = 100
"""Tokens after which a text that is asked to end does so without the end of a sentence."""
_CONTEXT: Final = 200
"""Characters in which the end of a sentence is looked for."""
_PARAGRAPH_END: Final = re.compile(r"\n[^\S\n]*\n\Z")
_GAP: Final = re.compile(r"\s+[\"'“”‘’«([<—–-]*\s*\Z|\Z")
"""What stands between two sentences, at the end of a text that the second has not begun yet."""

_CHAPTER: Final = (
    "chapter|chapitre|kapitel|kapittel|kapitola|cap[ií]tulo|capítol|capitolul|capitolo"
    "|hoofdstuk|rozdział|poglavlje|fejezet|luku|bölüm|глава|розділ|раздел|κεφάλαιο"
)
_HEADING: Final = re.compile(
    r"\s*#{1,2}\s+\S.*"  # Markdown
    r"|[\s#*_]*(?:"
    rf"(?:{_CHAPTER})\s+(?:[0-9]+|[ivxlcdm]+)\b.*"  # Chapter 3: The Sea
    rf"|(?:{_CHAPTER})(?:\s+[\w'’-]+){{1,3}}\s*(?:[.:*_—–-].*)?"  # Chapter Twenty-One
    rf"|\w+\.?\s+(?:{_CHAPTER})\W*"  # Drittes Kapitel, 3. fejezet
    r"|第\s*[0-9０-９〇零一二三四五六七八九十百千两]+\s*[章回話话].*"
    r"|제\s*[0-9]+\s*[장화].*"
    r")\s*",
    re.IGNORECASE,
)


class EndedBy(StrEnum):
    """The rules that can end a generated text."""

    MODEL = "model"
    LENGTH = "length"
    STOP = "stop"
    CHAPTERS = "chapters"
    SENTENCE = "sentence"
    """It was asked to end with its sentence."""


def is_heading(line: str) -> bool:
    """Whether ``line`` is a chapter's heading: at most 80 characters of one of these forms.

    A word for chapter and a number ("Chapter 3: The Sea", "CHAPITRE IV", "Chapter Twenty-One",
    "Drittes Kapitel", "第三章"), with Markdown or without, or a Markdown heading of the first or
    second level.
    """
    return len(line) <= MOST_HEADING and _HEADING.fullmatch(line) is not None


class _Sight(NamedTuple):
    """Verdict of a rule after a character, in numbers of characters from the end of the text."""

    beyond: int = 0
    """So many last characters are beyond the end of the text; 0: it has not ended."""
    unsure: int = 0
    """So many last characters may be beyond an end that only later ones will show."""


class _Rule(Protocol):
    cause: EndedBy

    def see(self, character: str) -> _Sight: ...


class _StopTexts:
    """The text ends before any of these texts."""

    cause = EndedBy.STOP

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._tail = ""

    def see(self, character: str) -> _Sight:
        self._tail = (self._tail + character)[-max(map(len, self._stops)) :]
        whole = [len(stop) for stop in self._stops if self._tail.endswith(stop)]
        begun = (
            n for stop in self._stops for n in range(1, len(stop)) if self._tail.endswith(stop[:n])
        )
        return _Sight(max(whole, default=0), max(begun, default=0))


class _Chapters:
    """The text ends before the heading of a chapter too many."""

    cause = EndedBy.CHAPTERS

    def __init__(self, chapters: int) -> None:
        self._left = chapters
        self._line, self._is_new = "", True  # the last line, and whether it was begun here

    def follow(self, before: str) -> None:
        self._left -= any(map(is_heading, before.splitlines()))
        self._line = before.rpartition("\n")[2]
        self._is_new = not self._line

    def see(self, character: str) -> _Sight:
        if character != "\n":
            self._line += character
            return _Sight(unsure=self._unsure)
        n_beyond = self.n_too_many
        self._left -= self._is_new and is_heading(self._line)
        self._line, self._is_new = "", True
        return _Sight(beyond=n_beyond + 1 if n_beyond else 0)

    @property
    def n_too_many(self) -> int:
        """Length of the last line if it is the heading of a chapter too many, otherwise 0."""
        return self._unsure if is_heading(self._line) else 0

    @property
    def _unsure(self) -> int:
        could_end = self._is_new and self._left == 0 and len(self._line) <= MOST_HEADING
        return len(self._line) if could_end else 0


class _Sentence:
    """Once it is asked to, the text ends with its sentence, or its line."""

    cause = EndedBy.SENTENCE

    def __init__(self) -> None:
        self.asked = False
        self._tail = ""
        self._n_new = 0  # characters since it was asked

    def see(self, character: str) -> _Sight:
        tail = self._tail = (self._tail + character)[-_CONTEXT:]
        if not self.asked:
            return _Sight()
        self._n_new = min(self._n_new + 1, _CONTEXT)
        # at the very end, closing quotes may follow
        ends = [end for end in sentence_ends(tail) if len(tail) - self._n_new <= end < len(tail)]
        if _PARAGRAPH_END.search(tail):
            ends.append(len(tail))
        if ends:
            return _Sight(min(self._n_new, len(tail) - len(tail[: ends[0]].rstrip())))
        gap = _GAP.search(tail)
        return _Sight(unsure=min(self._n_new, len(gap[0]) if gap else 0))


class Ending:
    """Passes a text on, a token's text at a time, up to where it ends."""

    def __init__(self, *, stop: Sequence[str] = (), chapters: int | None = None) -> None:
        """Begin a text.

        Args:
            stop: texts before any of which it ends.
            chapters: number of chapters after which it ends, before the heading of the next one,
                see `is_heading`; None: no limit.

        Raises:
            OptionError: a stop text is empty, or ``chapters`` is not positive.
        """
        if not all(stop):
            raise OptionError("--stop: the text is empty; expected some text to end before")
        if chapters is not None and chapters < 1:
            raise OptionError(f"--chapters is {chapters}; expected 1 or more")
        self._chapters = None if chapters is None else _Chapters(chapters)
        self._sentence = _Sentence()
        rules: list[_Rule | None] = [_StopTexts(stop) if stop else None, self._chapters]
        self._rules = [*filter(None, rules), self._sentence]
        self._held = ""
        self._n_unended = 0  # tokens since the text was asked to end
        self.ended_by: EndedBy | None = None
        """Which rule ended the text; None: none has."""
        self.n_beyond = 0
        """Number of characters that were taken and are beyond the end of the text."""

    def follow(self, before: str) -> None:
        """Continue the text ``before``, whose last chapter is the first one, if it has any."""
        if self._chapters is not None:
            self._chapters.follow(before)

    def finish_sentence(self) -> None:
        """End with the sentence, in `MOST_UNENDED` tokens at most; for signal handlers too."""
        self._sentence.asked = True

    def take(self, text: str) -> str:
        """Take the text of one more token, and return what can be passed on; none after the end."""
        if self.ended_by is not None:
            self.n_beyond += len(text)
            return ""
        passed = ""
        for index, character in enumerate(text):
            self._held += character
            sights = [(rule.see(character), rule.cause) for rule in self._rules]
            if ends := [(sight.beyond, cause) for sight, cause in sights if sight.beyond]:
                return passed + self._end(*max(ends), n_untaken=len(text) - index - 1)
            n_sure = len(self._held) - max(sight.unsure for sight, _ in sights)
            passed, self._held = passed + self._held[:n_sure], self._held[n_sure:]
        self._n_unended += self._sentence.asked
        if self._n_unended >= MOST_UNENDED:
            passed += self._end(0, EndedBy.SENTENCE)
        return passed

    def close(self, cause: EndedBy) -> str:
        """End the text where it is, for ``cause``; return what was held back of it."""
        if self._chapters is not None and (n := self._chapters.n_too_many):
            return self._end(n, EndedBy.CHAPTERS)
        return self._end(0, cause)

    def _end(self, n_beyond: int, cause: EndedBy, *, n_untaken: int = 0) -> str:
        n_kept = max(0, len(self._held) - n_beyond)
        kept = self._held[:n_kept]
        self.n_beyond = len(self._held) - n_kept + n_untaken
        self._held, self.ended_by = "", cause
        return kept
