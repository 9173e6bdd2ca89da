"""Checks of translations. One that fails a check is flagged and never trained on."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Final

from templora_edge.documents.document import has_letters
from templora_edge.documents.markup import is_kept, plain

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

LETTERS_TO_IDENTIFY: Final = 60
"""Fewest letters from which two languages can be told apart reliably."""
SAMPLE_LETTERS: Final = 400
"""Characters in each of the three samples from which a document's language is identified."""
CHARACTERS_TO_COMPARE: Final = 20
"""Fewest characters for a check of length: the ratio of shorter segments varies too much."""
LENGTH_RATIOS: Final = (0.35, 2.8)
"""Allowed ratios of a translation's length to its source's, in weighted characters."""
WIDE_LANGUAGES: Final = ("zh", "ja", "ko")
CJK_WEIGHT: Final = 3.0
"""Weight of a Chinese, Japanese or Korean character, in Latin ones."""
LOOP_REPEATS: Final = 4
"""Consecutive repetitions of the same words that make a loop."""
LOOP_MOST_WORDS: Final = 12
"""Longest group of words whose repetition is noticed."""
COPIED_WORDS: Final = 5
"""Consecutive words that only a copy shares with its source, except in names."""

_NUMBER: Final = re.compile(
    r"(?<!\d)\d{1,3}(?:[ \u00a0\u202f.,']\d{3})+(?!\d)|\d+(?:[.,:]\d+)+|\d{2,}"
)
"""Numbers of several digits: 1,000 or 1 000; 3.14; 1789."""
_WORD_OR_NUMBER: Final = re.compile(r"\w+")
_PREAMBLE: Final = re.compile(
    r"\s*(?:sure\b|certainly\b|of course[,!.]|here(?:'s| is| are) (?:the|your|a) |"
    r"(?:the )?translation\b\s*[:(]|translated (?:text|into)|as an ai\b|i(?:'m| am) sorry|"
    r"i can(?:'t|not) |"
    r"voici (?:la|une|votre) traduction|bien sûr|traduction\s*:|hier ist die übersetzung|"
    r"claro[,:!]|aquí (?:está|tienes) la traducción|以下是|翻译[:：]|好的[，,]|翻訳[:：])",
    re.IGNORECASE,
)
_NOTE: Final = re.compile(r"\n\s*[(\[*]*(?:note|translator'?s note|n\.?b\.?)\b", re.IGNORECASE)


class Flag(StrEnum):
    """The check that a translation failed."""

    EMPTY = "empty"
    UNTRANSLATED = "untranslated"
    LENGTH = "length ratio"
    MARKUP = "lost markup"
    NUMBERS = "lost numbers"
    LOOP = "repetition loop"
    UNFINISHED = "max tokens reached"
    PREAMBLE = "preamble"


def check(
    source: str, translation: str, *, source_language: str, target_language: str, finished: bool
) -> list[Flag]:
    """The checks that ``translation`` fails; none needs to understand the languages.

    Args:
        source: the segment.
        translation: its translation.
        source_language: BCP 47 tag of the source.
        target_language: BCP 47 tag of the translation.
        finished: whether the model ended the translation by itself.
    """
    text, original = plain(translation), plain(source)
    if not has_letters(text):
        return [Flag.EMPTY]
    languages = source_language, target_language
    findings = {
        Flag.UNTRANSLATED: _is_untranslated(original, text, *languages),
        Flag.LENGTH: _is_out_of_proportion(original, text),
        Flag.MARKUP: not is_kept(source, translation),
        Flag.NUMBERS: bool(_numbers(original) - _numbers(text)),
        Flag.LOOP: _loops(text) > max(LOOP_REPEATS - 1, _loops(original)),
        Flag.UNFINISHED: not finished,
        Flag.PREAMBLE: _has_preamble(original, text),
    }
    return [flag for flag, found in findings.items() if found]


def other_language(paragraphs: Sequence[str], language: str) -> str | None:
    """The language of a document if all samples agree that it is not ``language``, else None."""
    wanted = language.partition("-")[0]
    text = plain(" ".join(paragraphs))
    if wanted not in known_languages() or len(text) < SAMPLE_LETTERS:
        return None
    places = (0, (len(text) - SAMPLE_LETTERS) // 2, len(text) - SAMPLE_LETTERS)
    found = {identify(text[place : place + SAMPLE_LETTERS]) for place in places}
    return found.pop() if len(found) == 1 and wanted not in found else None


def has_loop(text: str) -> bool:
    """Whether ``text`` repeats some words over and over."""
    return _loops(text) >= LOOP_REPEATS


def identify(text: str, languages: tuple[str, ...] | None = None) -> str:
    """The two-letter code of the language of ``text``, one of ``languages``; None is any."""
    return str(_identifier(languages).classify(text)[0])


@cache
def known_languages() -> frozenset[str]:
    """Codes of the languages that `identify` knows."""
    return frozenset(_identifier(None).labels)


@cache
def _identifier(languages: tuple[str, ...] | None) -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    if languages is not None:
        identifier.set_languages(list(languages))
    return identifier


def _is_untranslated(source: str, translation: str, from_: str, to: str) -> bool:
    if from_ == to:
        return False
    if translation.strip().casefold() == source.strip().casefold():
        # a name or an exclamation may be the same in both
        return len(_WORD_OR_NUMBER.findall(source)) >= COPIED_WORDS
    words = _WORD_OR_NUMBER.findall(source.casefold())
    there = set(_runs(words))
    runs = _runs(_WORD_OR_NUMBER.findall(translation.casefold()))
    if sum(run in there and len(set(run)) > 2 for run in runs) > 0.3 * len(runs):
        return True
    letters = [character for character in translation if character.isalpha()]
    wide = to.partition("-")[0] in WIDE_LANGUAGES
    if not wide and sum(map(_is_wide, letters)) > 0.3 * len(letters):
        return True
    pair = _codes(from_, to)
    enough = len(letters) >= LETTERS_TO_IDENTIFY
    return enough and pair is not None and identify(translation, pair) == pair[0]


def _runs(words: list[str]) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + COPIED_WORDS]) for i in range(len(words) - COPIED_WORDS + 1)]


def _codes(from_: str, to: str) -> tuple[str, str] | None:
    """The codes of both languages for `identify`; None if one is unknown or both are the same."""
    pair = from_.partition("-")[0], to.partition("-")[0]
    return pair if pair[0] != pair[1] and known_languages().issuperset(pair) else None


def _is_out_of_proportion(source: str, translation: str) -> bool:
    if max(len(source), len(translation)) < CHARACTERS_TO_COMPARE:
        return False
    ratio = _weight(translation) / max(1.0, _weight(source))
    return not LENGTH_RATIOS[0] <= ratio <= LENGTH_RATIOS[1]


def _weight(text: str) -> float:
    return len(text) + (CJK_WEIGHT - 1) * sum(map(_is_wide, text))


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def _numbers(text: str) -> Counter[str]:
    """Numbers of two or more digits, however grouped; a single digit may become a word."""
    text = unicodedata.normalize("NFKC", text)
    return Counter(re.sub(r"\D", "", number) for number in _NUMBER.findall(text))


def _loops(text: str) -> int:
    """Most consecutive repetitions of a group of words, or of characters in unspaced scripts."""
    words = _WORD_OR_NUMBER.findall(text.casefold())
    most = max(_repeats(words, n) for n in range(1, LOOP_MOST_WORDS + 1))
    letters = [character for character in text if character.isalpha()]
    return max(
        most, _repeats(letters, 1) // LOOP_REPEATS, *(_repeats(letters, n) for n in (2, 3, 4))
    )


def _repeats(items: list[str], n: int) -> int:
    """Length of the longest run of one ``n``-gram, in repetitions."""
    most = run = 1
    for i in range(n, len(items) - n + 1, 1):
        if items[i : i + n] == items[i - n : i]:
            run += 1
            most = max(most, 1 + (run - 1) // n)
        else:
            run = 1
    return most


def _has_preamble(source: str, translation: str) -> bool:
    if _PREAMBLE.match(translation) and not _PREAMBLE.match(source):
        return True
    return bool(_NOTE.search(translation)) and "\n" not in source.strip()
