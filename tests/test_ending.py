"""Where a text ends: what is held back, and what is passed on."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from templora_edge.ending import MOST_HEADING, MOST_UNENDED, EndedBy, Ending, is_heading
from templora_edge.errors import OptionError

ALPHABET = "ab\n"
TEXTS = st.text(ALPHABET, max_size=40)
STOPS = st.lists(st.text(ALPHABET, min_size=1, max_size=6), min_size=1, max_size=3)


def pieces_of(text: str, lengths: list[int]) -> list[str]:
    """``text`` cut into pieces of ``lengths``, 0 among them, and the rest."""
    pieces = []
    for length in lengths:
        pieces.append(text[:length])
        text = text[length:]
    return [*pieces, text]


def write(ending: Ending, pieces: list[str]) -> str:
    """What is passed on of ``pieces``; all that was taken is passed on or beyond the end."""
    taken = passed = ""
    for piece in pieces:
        taken += piece
        passed += ending.take(piece)
        if ending.ended_by is not None:
            break
    else:
        passed += ending.close(EndedBy.MODEL)
    assert len(taken) - len(passed) == ending.n_beyond
    assert taken.startswith(passed)
    return passed


def slow_stop(text: str, stops: list[str]) -> str:
    """``text`` up to the stop text that is complete first, and of these to the longest."""
    for end in range(1, len(text) + 1):
        if found := [stop for stop in stops if text[:end].endswith(stop)]:
            return text[: end - max(map(len, found))]
    return text


@given(TEXTS, STOPS, st.lists(st.integers(0, 5)))
@example("aab", ["ab"], [1, 1, 1])
@example("ab\n", ["ab\na", "b"], [3])
def test_stop_texts(text: str, stops: list[str], lengths: list[int]) -> None:
    ending = Ending(stop=stops)
    written = write(ending, pieces_of(text, lengths))
    assert written == slow_stop(text, stops)
    assert ending.ended_by is (EndedBy.MODEL if written == text else EndedBy.STOP)


@given(TEXTS, STOPS)
def test_no_more_is_held_back_than_may_be_a_stop_text(text: str, stops: list[str]) -> None:
    ending, passed = Ending(stop=stops), ""
    for n, character in enumerate(text, 1):
        passed += ending.take(character)
        if ending.ended_by is not None:
            break
        held = text[len(passed) : n]
        assert not held or any(stop.startswith(held) and stop != held for stop in stops)


HEADINGS = (
    "Chapter 3", "CHAPTER III", "Chapter 3: The Sea", "chapter 12. The End", "Chapter One",
    "Chapter Twenty-One — The Storm", "Chapter the Last", "  CHAPTER IV  ", "# The Sea",
    "## Chapter 2", "### Chapter 2", "**Chapter 2: The Sea**", "Chapitre premier", "CHAPITRE IX",
    "Kapitel 7", "Drittes Kapitel", "Capítulo 2", "Capitolo primo", "Глава 5", "ГЛАВА ПЕРВАЯ",
    "第三章", "第12章 海", "第 3 話", "제1장", "3. fejezet", "Rozdział 2", "Hoofdstuk 4",
)  # fmt: skip
LINES = (
    "", "Chapter", "It was a dark night.", "She read the chapter again.", "### Notes", "#sea",
    "Chapter three was the hardest of all to write, and she knew it.", "* * *", "1866", "III",
    "Chapters 3", "The chapter on whales is long.", "第一次看海", "Chapter 3 " + MOST_HEADING * "x",
)  # fmt: skip


@pytest.mark.parametrize("line", HEADINGS)
def test_headings(line: str) -> None:
    assert is_heading(line)


@pytest.mark.parametrize("line", LINES)
def test_lines_that_are_no_headings(line: str) -> None:
    assert not is_heading(line)


STORY = "Chapter 1\n\nThe sea.\n\nChapter 2\nThe ship.\nChapter 3: The End\nHome.\n"


@pytest.mark.parametrize(
    ("before", "chapters", "end"),
    [
        ("", 1, "Chapter 2"),
        ("", 2, "Chapter 3"),
        ("", 3, None),
        ("A novel.\n", 1, "Chapter 2"),
        ("Prologue\n# Part\nIt began.\n", 1, "Chapter 1"),
        ("Chapter 0\nIt began.\n", 2, "Chapter 2"),
        ("Chapter 0\n", 1, "Chapter 1"),
        ("Title: ", 1, "Chapter 3"),  # the first line goes on with one of the prompt
        ("Chapter 9: ", 1, "Chapter 2"),
    ],
)
@given(st.lists(st.integers(0, 9)))
def test_chapters(before: str, chapters: int, end: str | None, lengths: list[int]) -> None:
    ending = Ending(chapters=chapters)
    ending.follow(before)
    written = write(ending, pieces_of(STORY, lengths))
    assert written == (STORY if end is None else STORY[: STORY.index(end)])
    assert ending.ended_by is (EndedBy.MODEL if end is None else EndedBy.CHAPTERS)


@pytest.mark.parametrize(("rest", "kept"), [("Chapter 2: Th", ""), ("Chapter", "Chapter")])
def test_a_text_whose_last_line_is_unfinished(rest: str, kept: str) -> None:
    story = "Chapter 1\nThe sea.\n"
    assert write(Ending(chapters=1), [story, rest]) == story + kept


def test_lines_pass_unless_the_next_heading_ends_the_text() -> None:
    ending = Ending(chapters=2)
    assert ending.take("Chapter 1\nThe s") == "Chapter 1\nThe s"
    assert ending.take("ea.\nChapter 2\nThe sh") == "ea.\nChapter 2\n"
    assert ending.take("x" * MOST_HEADING) == "The sh" + "x" * MOST_HEADING


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ("It was", " dark. He left.", " dark."),
        ("It was", " dark, Mr. Fogg said at 3.15 to J. Smith. He left.",
         " dark, Mr. Fogg said at 3.15 to J. Smith."),
        ("He met Mr", ". Fogg. He left.", ". Fogg."),
        ("It was dark.", " He left.", ""),
        ("It was dark. ", "He left.", ""),
        ("It was dark.", "” “He left,” she said. Why?", "”"),
        ("“It is", " dark,” she said. “He left.”", " dark,” she said."),
        ("« Il", " part. » Elle resta.", " part. »"),
        ("They", " left…\n\n“Why?”", " left…"),
        ("and they", " left\nthe ship. Then", " left\nthe ship."),
        ("The", " Sea\n\nIt was dark.", " Sea"),
        ("他走", "了。“为什么？”她问。", "了。"),
        ("「行", "こう！」そして去った。", "こう！」"),
    ],
)  # fmt: skip
@given(st.lists(st.integers(0, 5)))
def test_a_text_that_is_asked_to_end(
    before: str, after: str, kept: str, lengths: list[int]
) -> None:
    ending = Ending()
    assert ending.take(before) == before
    ending.finish_sentence()
    assert write(ending, pieces_of(after, lengths)) == kept
    assert ending.ended_by is EndedBy.SENTENCE


@pytest.mark.parametrize("piece", ["", " and", "x", "\t"])
def test_a_sentence_that_never_ends(piece: str) -> None:
    ending = Ending()
    assert ending.take("On") == "On"
    ending.finish_sentence()
    assert write(ending, [piece] * 3 * MOST_UNENDED) == piece * MOST_UNENDED
    assert ending.ended_by is EndedBy.SENTENCE


def test_wrong_ends() -> None:
    with pytest.raises(OptionError, match="--stop: the text is empty"):
        Ending(stop=["a", ""])
    with pytest.raises(OptionError, match="--chapters is 0; expected 1 or more"):
        Ending(chapters=0)
