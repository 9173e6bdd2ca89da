"""The sheet of a review, after all that editors do to a file."""

import random
import re
import textwrap
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from templora_edge.translation.edits.review_sheet import PROBLEM, ReviewSheet
from templora_edge.translation.store.segment_row import Origin, SegmentRow

LONG = "The old sailor looked at the sea, which was grey, and at the boats that came home late. "


def row(number: int, translation: str, source: str = "Source.", *flags: str) -> SegmentRow:
    return SegmentRow(number, number, 0, source, translation, Origin.MODEL, tuple(flags), 1, 1, 0.0)


ROWS = [
    row(7, "He waited."),
    row(8, LONG * 3, "Le vieux marin regardait la mer. " * 6),
    row(12, "1866 was a year of --- 3 and === 12.", "--- 7\tdans l'année"),
    row(13, "- Who is there?", "=== 13 <1>Qui</1> est là ?"),
    row(14, "<1/> & <2>so on</2>  twice"),
]


def wrapped(text: str) -> str:
    lines = [textwrap.fill(line, 40) if line else line for line in text.split("\n")]
    return "\n".join(lines)


def folded(text: str) -> str:
    """Cut at 40 columns, in the middle of words, as `fold` does."""
    return re.sub(r"(.{40})(?=.)", "\\1\n", text)


def reordered(text: str) -> str:
    mark = max(re.findall("=+", text), key=len)
    head, *entries = re.split(f"(?m)^(?={mark})", text)
    random.Random(1).shuffle(entries)  # noqa: S311
    return head + "".join(entries)


HARMLESS: dict[str, Callable[[str], str]] = {
    "nothing": lambda text: text,
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "CR": lambda text: text.replace("\n", "\r"),
    "no final newline": lambda text: text.rstrip("\n"),
    "more final newlines": lambda text: text + "\n\n\n",
    "a byte order mark": lambda text: "\ufeff" + text,
    "spaces at the ends of lines": lambda text: text.replace("\n", "  \n"),
    "an indent": lambda text: textwrap.indent(text, "    "),
    "long lines wrapped": wrapped,
    "long lines folded": folded,
    "all lines joined and filled": lambda text: textwrap.fill(" ".join(text.split("\n")), 70),
    "entries reordered": reordered,
    "entries deleted": lambda text: text[: text.rindex("\n====")],
    "instructions deleted": lambda text: text[text.index("\n====") :],
    "sources deleted": lambda text: re.sub(r"(?m)^=.*\n.*\n", "", text),
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_an_editor_does_changes_nothing(kind: str) -> None:
    sheet = ReviewSheet(ROWS)
    read = sheet.read(HARMLESS[kind](sheet.text))
    assert read == [one.translation for one in ROWS]


@pytest.mark.parametrize("kind", ["nothing", "CRLF", "long lines wrapped", "entries reordered"])
def test_what_a_person_changes_is_read(kind: str) -> None:
    sheet = ReviewSheet(ROWS)
    edited = sheet.text.replace("The old", "THE OLD").replace("He waited.", "He\nwas.")
    read = sheet.read(HARMLESS[kind](edited))
    assert read[0] == "He was.", "lines of one translation are joined"
    assert read[1] == (LONG * 3).strip().replace("The old", "THE OLD")
    assert read[2:] == [one.translation for one in ROWS[2:]]


def test_lines_without_spaces_between_words_are_joined_without_spaces() -> None:
    sheet = ReviewSheet([row(1, "彼は海を見た。")])
    assert sheet.read(sheet.text.replace("彼は海", "彼女は\n海")) == ["彼女は海を見た。"]


WORDS = st.text("=-=- 12ab<>\\\u3042é", min_size=1, max_size=30).map(
    lambda text: " ".join(text.split()) or "x"
)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5), kind=st.sampled_from(
    ["nothing", "CRLF", "long lines wrapped", "all lines joined and filled", "entries reordered"]
))  # fmt: skip
def test_no_text_is_taken_for_a_mark(texts: list[tuple[str, str]], kind: str) -> None:
    rows = [row(index, target, source) for index, (source, target) in enumerate(texts, 1)]
    sheet = ReviewSheet(rows)
    assert sheet.read(HARMLESS[kind](sheet.text)) == [one.translation for one in rows]


DAMAGES: dict[str, tuple[Callable[[str], str], str]] = {
    "emptied": (lambda _: "", "no line begins with ---- and the number of a segment"),
    "other text": (lambda _: "Dear diary", "no line begins with ----"),
    "a translation deleted": (
        lambda text: text.replace("He waited.", ""),
        "---- 7: no translation",
    ),
    "a mark deleted": (lambda text: text.replace("---- 7\n", ""), "---- 7: this line is missing"),
    "another number": (lambda text: text.replace("---- 7", "---- 99"), "---- 99: no segment"),
    "twice": (lambda text: f"{text}\n---- 7\nHe slept.\n", "---- 7: stands here twice"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_sheet_is_shown_with_what_is_wrong_and_nothing_lost(kind: str) -> None:
    sheet = ReviewSheet(ROWS)
    damage, problem = DAMAGES[kind]
    damaged = damage(sheet.text)
    with pytest.raises(ValueError, match=re.escape(problem)) as caught:
        sheet.read(damaged)
    assert "\n" not in str(caught.value)
    shown = sheet.with_problem(damaged, str(caught.value))
    first, _, rest = shown.partition("\n")
    assert first == f"{PROBLEM}{caught.value}"
    assert damaged.strip() in rest
    again = sheet.with_problem(shown, "Another.")
    assert again.partition("\n")[2] == rest, "one problem at a time"
    if "---- 8" not in damaged:
        assert sheet.read(shown) == [one.translation for one in ROWS]


def test_flags_are_named() -> None:
    sheet = ReviewSheet([row(3, "Yes.", "Oui.", "empty", "preamble"), row(4, "No.")])
    assert "Flagged: 3 empty, preamble.\n" in sheet.text
    assert sheet.read(sheet.text) == ["Yes.", "No."]
