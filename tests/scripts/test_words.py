"""Figures of words: repetition and variety by quarter, and names."""

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from scripts.benchmarks.words import (
    LEAST_OCCURRENCES,
    TITLES,
    capitalised,
    distinct_shares,
    names_of,
    quarters,
    repeated_shares,
    words_of,
)

few_words = st.lists(st.sampled_from(["sea", "Tom", "fog"]), max_size=60)
sentences = st.lists(
    st.tuples(
        st.sampled_from(["the", "Ann", "Tom", "Mr", "I", "NOON", "Ann's", "I'm"]),
        st.sampled_from([" ", ", ", ". ", "! ", "; ", "\n", "\n\n", " \u201c", ": ", "-"]),
    )
)


def slow_repeated_shares(words: list[str]) -> list[float]:
    """Compare every 8-gram with every earlier one, as text."""
    grams = [" ".join(words[begin : begin + 8]) for begin in range(len(words) - 7)]
    inside = {
        begin + offset
        for begin, gram in enumerate(grams)
        if gram in grams[:begin]
        for offset in range(8)
    }
    bounds = [len(words) * part // 4 for part in range(5)]
    parts = [range(bounds[part], bounds[part + 1]) for part in range(4)]
    return [len(inside & set(part)) / len(part) if part else 0.0 for part in parts]


@given(few_words)
def test_repeated_shares(words: list[str]) -> None:
    text = ", ".join(words) + "."
    assert repeated_shares(text) == slow_repeated_shares([word.lower() for word in words])


@given(few_words, st.integers(1, 5))
def test_distinct_shares(words: list[str], n: int) -> None:
    for share, part in zip(distinct_shares(" ".join(words), n), quarters(words), strict=True):
        grams = [part[begin : begin + n] for begin in range(len(part) - n + 1)]
        new = [gram for begin, gram in enumerate(grams) if gram not in grams[:begin]]
        assert math.isclose(share, len(new) / len(grams) if grams else 1)


@given(few_words)
def test_quarters_are_the_whole(words: list[str]) -> None:
    parts = quarters(words)
    assert [word for part in parts for word in part] == words
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(sentences)
def test_capitalised_words_follow_a_word_of_their_sentence(pieces: list[tuple[str, str]]) -> None:
    expected = []
    for (before, gap), (word, _) in pairwise(pieces):
        title = before in TITLES and gap == ". "
        if word in ("Ann", "Tom", "Ann's") and (title or gap in (" ", ", ", "; ", "\n", "-")):
            expected.append(word.removesuffix("'s"))
    assert capitalised("".join(word + gap for word, gap in pieces)) == expected


def test_names_occur_often_enough_within_sentences() -> None:
    often = "We saw Mrs. Dalton\u2019s house, and Rome. " * LEAST_OCCURRENCES
    seldom = "He met Sarah. " * (LEAST_OCCURRENCES - 1) + "Then. " * 9
    assert names_of(often + seldom) == {"Dalton", "Rome"}


def test_words_have_neither_case_nor_punctuation() -> None:
    assert words_of("\u201cDon't,\u201d said O\u2019Neil_2") == [
        "don't",
        "said",
        "o\u2019neil",
        "2",
    ]
