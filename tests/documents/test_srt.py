"""Subtitles: what is not text stays byte for byte, and lines break where a reader expects it."""

import codecs
import re
from pathlib import Path

import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import echoed

from templora_edge.documents import read_document
from templora_edge.documents.markup import PLACEHOLDER
from templora_edge.documents.subtitles import SrtDocument
from templora_edge.documents.subtitles.cue import MOST_COLUMNS, Cue
from templora_edge.documents.wrapping import columns
from templora_edge.errors import DocumentError

FILM = r"""1
00:00:01,000 --> 00:00:02,500 X1:100 X2:200 Y1:10 Y2:20
{\an8}<i>I told you not</i>
<i>to go there alone.</i>

3
00:00:03,000 --> 00:00:04,500

4
00:00:05,000 --> 00:00:06,500
- Hi.
- <font color="#ff0000">Hello</font>, <b>you</b>!


12
0:00:07.10 --> 0:00:08.2
♪ ♪

13
00:00:09,000 --> 00:00:10,000
It began here,<br/>in that year,
1984

14
99:59:59,000 --> 99:59:59,999
<i>- Who's there?
- Nobody you  know
at all.</i>
"""


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def translated(path: Path, text: str, *, bilingual: bool = False) -> str:
    """The file of one event after all its words became ``text``."""
    document = SrtDocument(path)
    out = path.with_suffix(".out.srt")
    document.write(out, [text] * len(document.paragraphs), language="en", bilingual=bilingual)
    return out.read_bytes().decode()


def event(*lines: str) -> str:
    return "\n".join(["1", "00:00:01,000 --> 00:00:02,000", *lines, ""])


def louder(text: str) -> str:
    """Another text with the same placeholders."""
    return "".join(
        part if PLACEHOLDER.fullmatch(part) else part.upper()
        for part in re.split("(</?[1-9][0-9]*/?>)", text)
    )


def test_paragraphs_are_what_each_speaker_says(tmp_path: Path) -> None:
    assert read_document(write(tmp_path / "film.srt", FILM)).paragraphs == [
        "I told you not to go there alone.",
        "Hi.",
        "<1>Hello</1>, <2>you</2>!",
        "It began here, in that year, 1984",
        "Who's there?",
        "Nobody you  know at all.",
    ]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_identity_gives_the_same_bytes(tmp_path: Path, newline: str, bom: bytes, end: str) -> None:
    data = bom + (FILM.rstrip("\n") + end).replace("\n", newline).encode()
    path, out = tmp_path / "film.srt", tmp_path / "out.srt"
    path.write_bytes(data)
    document = SrtDocument(path)
    document.write(out, echoed(document.paragraphs), language="en")
    assert out.read_bytes() == data


def test_only_words_change(tmp_path: Path) -> None:
    path, out = write(tmp_path / "film.srt", FILM), tmp_path / "out.srt"
    document = SrtDocument(path)
    document.write(out, [louder(text) for text in document.paragraphs], language="en")
    assert out.read_text() == (
        FILM.replace("I told you not<", "I TOLD YOU NOT TO<")
        .replace("to go there alone", "GO THERE ALONE")
        .replace("Hi.", "HI.")
        .replace("Hello", "HELLO")
        .replace("you<", "YOU<")
        .replace("It began here,<br/>in that year,\n1984", "IT BEGAN HERE, IN\nTHAT YEAR, 1984")
        .replace("Who's there", "WHO'S THERE")
        .replace("Nobody you  know\nat all", "NOBODY YOU\nKNOW AT ALL")
    )


def test_pysubs2_reads_the_same_events(tmp_path: Path) -> None:
    path, out = write(tmp_path / "film.srt", FILM), tmp_path / "out.srt"
    document = SrtDocument(path)
    document.write(out, [louder(text) for text in document.paragraphs], language="en")
    before, after = (pysubs2.load(str(each), keep_html_tags=True) for each in (path, out))
    assert len(before) == 6
    for old, new in zip(before, after, strict=True):
        assert (old.start, old.end) == (new.start, new.end)
        texts = [re.sub("<[^>]*>", " ", each.plaintext).split() for each in (old, new)]
        assert [word.upper() for word in texts[0]] == texts[1]


def test_pysubs2_reads_both_languages_in_each_event(tmp_path: Path) -> None:
    path, out = write(tmp_path / "film.srt", FILM), tmp_path / "out.srt"
    document = SrtDocument(path)
    translations = [louder(text) for text in document.paragraphs]
    document.write(out, translations, language="en", bilingual=True)
    heads = [re.findall(r"(?m)^\d+\n.*-->.*$", each.read_text()) for each in (path, out)]
    assert heads[0] == heads[1]
    assert len(heads[0]) == 6
    before, after = (pysubs2.load(str(each), keep_html_tags=True) for each in (path, out))
    for old, new in zip(before, after, strict=True):
        assert (old.start, old.end) == (new.start, new.end)
        assert new.text.startswith(old.text)
        has_words = re.search("[a-z]", old.plaintext)
        assert bool(re.search("[A-Z]{2}", new.text[len(old.text) :])) == bool(has_words)


def test_a_translation_may_move_its_markup(tmp_path: Path) -> None:
    path = write(tmp_path / "a.srt", event("<b>One</b> and <i>two</i>{\\i0}, said <u>I</u>"))
    assert SrtDocument(path).paragraphs == ["<1>One</1> and <2>two</2><3/>, said <4>I</4>"]
    moved = translated(path, "<4>Ich</4> sagte <2>zwei<3/></2> und <1>eins</1>")
    assert moved == event("<u>Ich</u> sagte <i>zwei{\\i0}</i> und <b>eins</b>")
    assert translated(path, "Ohne<3/>") == event("Ohne{\\i0}")


def test_what_looks_like_a_placeholder_is_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.srt", event("Press <1> or <2/> and 3 < 4"))
    assert SrtDocument(path).paragraphs == ["Press <1/> or <2/> and 3 < 4"]
    assert translated(path, "Erst <2/>, dann <1/>") == event("Erst <2/>, dann <1>")


def test_unpaired_and_overlapping_tags_survive(tmp_path: Path) -> None:
    path = write(tmp_path / "a.srt", event("<i>one <b>two</i> three</b> four<br>five</u>"))
    (paragraph,) = SrtDocument(path).paragraphs
    assert paragraph == "one <1>two<2/> three</1> four five"
    assert translated(path, louder(paragraph)) == event("<i>ONE <b>TWO</i> THREE</b> FOUR FIVE</u>")


@pytest.mark.parametrize(
    ("lines", "translation", "expected"),
    [
        # as many lines as there were, about equally long
        (["one two", "three"], "aaaa bb cc dd ee", ["aaaa bb", "cc dd ee"]),
        (["one two three four"], "aaaa bb cc dd ee", ["aaaa bb cc dd ee"]),
        (["one two", "three", "four"], "yes", ["yes"]),
        # more only if one would be too long
        (["one"], "word " * 12, [" ".join(["word"] * 6)] * 2),
        (["one", "two"], "word " * 24, [" ".join(["word"] * 8)] * 3),
        (["one"], "x" * 60, ["x" * 60]),
        # tags take no room, and are not cut
        (
            ["<font color='red'>one</font> two", "three"],
            "<1>aaaa</1> bb cc dd ee",
            ["<font color='red'>aaaa</font> bb", "cc dd ee"],
        ),
        # a no-break space is none to break at
        (["one", "two"], "aaaa bb\u00a0! cc", ["aaaa", "bb\u00a0! cc"]),
        # scripts without spaces
        (["one", "two"], "我告诉过你，不要一个人去", ["我告诉过你，", "不要一个人去"]),
        (["one"], "我" * 24, ["我" * 12] * 2),
        (["<b>one</b>", "two"], "<1>我我我</1>我我我", ["<b>我我我</b>", "我我我"]),
        (["- <i>one", "two</i>"], "aaaa\r\n bb\tcc", ["- <i>aaaa", "bb cc</i>"]),
    ],
)
def test_lines_break_as_in_the_source(
    tmp_path: Path, lines: list[str], translation: str, expected: list[str]
) -> None:
    path = write(tmp_path / "a.srt", event(*lines))
    assert translated(path, translation) == event(*expected)


def test_chinese_lines_are_joined_without_a_space(tmp_path: Path) -> None:
    path = write(tmp_path / "a.srt", event("我告诉过你", "不要一个人去"))
    assert SrtDocument(path).paragraphs == ["我告诉过你不要一个人去"]


@pytest.mark.parametrize(
    ("lines", "paragraphs"),
    [
        (["Well...", "- What?"], ["Well...", "What?"]),
        (["– Oui ?", "— Non."], ["Oui ?", "Non."]),
        (
            ["At night it had", "-5 degrees", "-- at least."],
            ["At night it had -5 degrees -- at least."],
        ),
        (["-No.", "-Yes, it is", "so."], ["No.", "Yes, it is so."]),
        (["One", "", "Two"], ["One", "Two"]),
    ],
)
def test_dialogue(tmp_path: Path, lines: list[str], paragraphs: list[str]) -> None:
    path, out = write(tmp_path / "a.srt", event(*lines)), tmp_path / "out.srt"
    document = SrtDocument(path)
    assert document.paragraphs == paragraphs
    document.write(out, [louder(text) for text in paragraphs], language="en")
    assert out.read_text().upper().split() == path.read_text().upper().split()


def test_bilingual_has_both_in_one_event(tmp_path: Path) -> None:
    path = write(tmp_path / "a.srt", event("{\\an8}<i>- Hi,</i>", "<i>you.</i>", "- ..."))
    assert translated(path, "Hallo, du", bilingual=True) == event(
        "{\\an8}<i>- Hi,</i>", "<i>you.</i>", "- ...", "<i>- Hallo,</i>", "<i>du</i>"
    )
    silent = write(tmp_path / "b.srt", event("♪", "", "2", "00:00:03,000 --> 00:00:04,000", "Oh"))
    assert translated(silent, "Ach", bilingual=True) == silent.read_text() + "Ach\n"


marked_up = st.lists(
    st.sampled_from([*"ab -我、\u00a0", "<i>", "</i>", "<b>", "</b>", "{\\an8}", "<1/>", "</2>"]),
    max_size=12,
).map("".join)


@given(st.lists(marked_up, min_size=1, max_size=4), st.text("ab c我、-\0\n", max_size=120))
def test_no_line_is_blank_and_no_tag_is_lost(lines: list[str], words: str) -> None:
    source = Cue(lines)
    assert source.lines(source.paragraphs, bilingual=False) == lines
    placeholders = ["".join(m.group() for m in PLACEHOLDER.finditer(p)) for p in source.paragraphs]
    again = source.lines([words + each for each in placeholders], bilingual=False)
    assert all(line.strip() for line in again if line not in lines)
    if not re.search(r"</(\w)>\s*<\1>", "\n".join(lines)):  # else they may become one
        tags = [sorted(re.findall("</?[ib12]/?>|{.an8}", "".join(each))) for each in (lines, again)]
        assert tags[0] == tags[1]


@given(st.lists(st.text("abc", min_size=1, max_size=12), min_size=1, max_size=30))
def test_lines_are_balanced_and_short(words: list[str]) -> None:
    translation = " ".join(words)
    lines = Cue(["x y", "z"]).lines([translation], bilingual=False)
    assert " ".join(lines) == translation
    widths = [columns(line) for line in lines]
    assert max(widths) <= MOST_COLUMNS
    if len(lines) == 2:  # no other place to break at is better
        halves = [(" ".join(words[:i]), " ".join(words[i:])) for i in range(1, len(words))]
        assert max(widths) == min(max(map(columns, half)) for half in halves)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b" \r\n\n", "empty"),
        (event("Un\0chat").encode(), "not text"),
        (b"Just prose.\n\nIt is 12:30.\n", "not SubRip"),
        (b"WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nHi\n", "not SubRip"),
        (b"[Script Info]\nDialogue: 0,0:00:01.00,0:00:02.00,D,,0,0,0,,Hi\n", "not SubRip"),
        (event("...", "♪").encode(), "no words"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "bad.srt"
    path.write_bytes(data)
    with pytest.raises(DocumentError) as caught:
        read_document(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == data
