"""Checks of translations. One that fails a check is flagged and never trained on."""

import re
import unicodedata
from collections.abc import Collection, Sequence
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Final

from templora_edge.documents.document import has_letters
from templora_edge.documents.markup import is_kept, plain
from templora_edge.translation import name_rows, number_words
from templora_edge.translation.answer_text import AnswerText, weight
from templora_edge.translation.literals import lost, without_literals

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
LONG_LENGTH_RATIOS: Final = (0.5, 2.2)
"""The same for sources of `LONG` characters: one pair in a thousand of literature is beyond."""
LONG: Final = 120
WIDE_LANGUAGES: Final = ("zh", "ja", "ko")
LOOP_REPEATS: Final = 4
"""Consecutive repetitions of the same words that make a loop."""
MOST_REPEATS: Final = 5
"""Consecutive repetitions that a translation may have, if its source has none."""
DIFFERENT_WORDS: Final = 6
"""Fewest words of a segment whose translation may be no other segment's."""
SHORTEST_REPEATED: Final = 3
"""Fewest words of a segment that counts as one of many with one translation."""
MOST_REPEATED: Final = 4
"""Segments of different words that may have one translation, such as "What do you mean?"."""
SAME_WORDS: Final = 0.5
"""Share of words that two segments of one translation have in common."""
LOOP_MOST_WORDS: Final = 12
"""Longest group of words whose repetition is noticed."""
LETTERS_OF_ANY: Final = 100
"""Fewest letters from which a language can be told from all others."""
NAMES: Final = 0.6
"""Share of names among the words of an address or a list of names."""
COPIED_WORDS: Final = 5
"""Consecutive words that only a copy shares with its source, except in names."""

CUT_RATIO: Final = 0.72
"""Ratio of lengths below which a translation that has no end was cut."""
LESS_RATIO: Final = 0.57
"""Ratio of lengths below which a translation with half of the sentences lacks the others."""
_SENTENCE_END: Final = re.compile(r"[.?…。！？]+(?=[\s\"'”’»)\]」』]|$)|[。！？]+")
_END: Final = re.compile(r"[.!?…:;。！？—–-][\s\"'”’»)\]」』*_]*$")
_WORD_OR_NUMBER: Final = re.compile(r"\w+")


class Flag(StrEnum):
    """The check that a translation failed."""

    EMPTY = "empty"
    UNTRANSLATED = "untranslated"
    LENGTH = "length ratio"
    MARKUP = "lost markup"
    NUMBERS = "changed numbers"
    LITERALS = "lost literals"
    NAMES = "changed names"
    SAME = "same translation as of other segments"
    LOOP = "repetition loop"
    UNFINISHED = "max tokens reached"
    PREAMBLE = "preamble"


def check(
    source: str,
    translation: str,
    *,
    source_language: str,
    target_language: str,
    finished: bool,
    other_sources: Collection[str] = (),
) -> list[Flag]:
    """The checks that ``translation`` fails; none needs to understand the languages.

    Args:
        source: the segment.
        translation: its translation.
        source_language: BCP 47 tag of the source.
        target_language: BCP 47 tag of the translation.
        finished: whether the model ended the translation by itself.
        other_sources: segments that have this very translation.
    """
    text, original = plain(translation), plain(source)
    reader = AnswerText(original)
    if not has_letters(reader.translation(text)):
        return [Flag.EMPTY]
    languages = _main(source_language), _main(target_language)
    words, original_words = without_literals(text), without_literals(original)
    findings = {
        Flag.UNTRANSLATED: _is_untranslated(original_words, words, *languages),
        Flag.LENGTH: _is_out_of_proportion(original, text) or _is_cut(original, text),
        Flag.MARKUP: not is_kept(source, translation),
        Flag.NUMBERS: bool(number_words.changed(original_words, words, *languages)),
        Flag.LITERALS: bool(lost(original, text)),
        Flag.NAMES: bool(name_rows.changed(original_words, words)),
        Flag.LOOP: _loops(text) > max(MOST_REPEATS, 2 * _loops(original)),
        Flag.UNFINISHED: not finished,
        Flag.PREAMBLE: reader.is_refusal(text) or reader.unframed(text) != text.strip(),
        Flag.SAME: _is_repeated(original, text, [plain(other) for other in other_sources]),
    }
    return [flag for flag, found in findings.items() if found]


def _main(language: str) -> str:
    """The language of a BCP 47 tag, without script and region, in small letters."""
    return language.lower().partition("-")[0]


def _is_repeated(source: str, translation: str, others: Sequence[str]) -> bool:
    """Whether ``others``, which have ``translation`` too, are too different from ``source``."""
    words = set(_WORD_OR_NUMBER.findall(source.casefold()))
    different = []
    for other in others:
        there = set(_WORD_OR_NUMBER.findall(other.casefold()))
        if len(words & there) < SAME_WORDS * max(len(words), len(there)):
            different.append(len(there))
    if len(words) >= SHORTEST_REPEATED:
        many = sum(n >= SHORTEST_REPEATED for n in different) >= MOST_REPEATED
    else:  # "Yes." is the translation of many
        many = len(different) >= MOST_REPEATED
        many &= len(_WORD_OR_NUMBER.findall(translation)) > SHORTEST_REPEATED
    return many or (bool(different) and len(words) >= DIFFERENT_WORDS)


def other_language(paragraphs: Sequence[str], language: str) -> str | None:
    """The language of a document if all samples agree that it is not ``language``, else None."""
    wanted = _main(language)
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


def _is_untranslated(  # noqa: PLR0911
    source: str, translation: str, from_: str, to: str
) -> bool:
    if from_ == to:
        return False
    if translation.strip().casefold() == source.strip().casefold():
        return not _is_name(source) and len(_WORD_OR_NUMBER.findall(source)) >= COPIED_WORDS
    words = _WORD_OR_NUMBER.findall(source.casefold())
    there = set(_runs(words))
    runs = _runs(_WORD_OR_NUMBER.findall(translation.casefold()))
    if sum(run in there and len(set(run)) > 2 for run in runs) > 0.3 * len(runs):
        return not _is_name(translation)
    letters = [character for character in translation if character.isalpha()]
    if to not in WIDE_LANGUAGES and sum(map(_is_wide, letters)) > 0.3 * len(letters):
        return True
    if len(letters) < LETTERS_TO_IDENTIFY or not known_languages().issuperset((from_, to)):
        return False
    if identify(translation, (from_, to)) == from_:
        return True
    return len(letters) >= LETTERS_OF_ANY and identify(translation) != to and not _is_name(source)


def _is_name(text: str) -> bool:
    """Whether ``text`` has many names, as an address has, which are the same in any language."""
    words = re.findall(r"[^\W\d_]{3,}|\d+", text)
    return sum(not word.islower() for word in words) > NAMES * len(words)


def _runs(words: list[str]) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + COPIED_WORDS]) for i in range(len(words) - COPIED_WORDS + 1)]


def _is_out_of_proportion(source: str, translation: str) -> bool:
    if max(len(source), len(translation)) < CHARACTERS_TO_COMPARE:
        return False
    length = weight(source)
    least, most = LONG_LENGTH_RATIOS if length >= LONG else LENGTH_RATIOS
    return not least <= weight(translation) / max(1.0, length) <= most


def _is_cut(source: str, translation: str) -> bool:
    """Whether ``translation`` is short and lacks sentences, or begins or ends within one."""
    ratio = weight(translation) / max(1.0, weight(source))
    if weight(source) < CHARACTERS_TO_COMPARE or ratio > CUT_RATIO:
        return False
    lacks_sentences = _sentences(source) >= 2 * _sentences(translation) > 0
    if lacks_sentences and weight(source) >= LONG / 2 and ratio < LESS_RATIO:
        return True
    begins_within = translation[:1].islower() and not source[:1].islower()
    ends_within = bool(_END.search(source)) and not _END.search(translation)
    return begins_within or ends_within


def _sentences(text: str) -> int:
    return len(_SENTENCE_END.findall(text))


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


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
