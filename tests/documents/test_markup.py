"""Placeholders in answers: repaired where damaged, placed where lost, and never debris."""

import re
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from templora_edge.documents.markup import (
    PLACEHOLDER,
    Paragraph,
    is_kept,
    plain,
    repaired,
    shown,
    whole,
)

SOURCE = "Le gardien <1>du phare</1> dort<2/> bien ce soir."
GOOD = "The keeper <1>of the lighthouse</1> sleeps<2/> well tonight."


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        "The keeper <1>of the lighthouse<1> sleeps<2> well tonight.",
        "The keeper < 1>of the lighthouse</ 1> sleeps<2 /> well tonight.",
        "The keeper &lt;1&gt;of the lighthouse&lt;/1&gt; sleeps&lt;2/&gt; well tonight.",
        "The keeper &lt;1&gt;of the lighthouse&lt;/1&gt; sleeps well tonight.",
        "The keeper &amp;lt;1&amp;gt;of the lighthouse</1> sleeps<2/> well tonight.",
        r"The keeper \<1\>of the lighthouse\</1\> sleeps\<2/\> well tonight.",
        "The keeper <i>of the lighthouse</i> sleeps[2] well tonight. <2",
        "The keeper <i>of the lighthouse</i> sleeps<2/> well tonight.</",
        'The keeper <span class="x">of the lighthouse</span> sleeps<2/> well<br/> tonight.',
        "The keeper **of the lighthouse** sleeps<2/> well tonight.",
        "The keeper ＜1＞of the lighthouse＜／1＞ sleeps＜2／＞ well tonight.",
        "The keeper <١>of the lighthouse</١> sleeps<٢/> well tonight.",
        "The keeper [1]of the lighthouse[/1] sleeps(2) well tonight.",
        "The keeper <3>of the lighthouse</3> sleeps<2/> well tonight.",
        "The keeper <1>of the lighthouse</1 sleeps<2/ well tonight.",
        "The keeper 1>of the lighthouse</1> sleeps2/> well tonight.",
        "The keeper </1>of the lighthouse</1> sleeps<2/> well tonight.",
        "The keeper <1>of the lighthouse</1> sleeps<2/> well<2/> tonight.<1></1>",
        "The keeper <1>of the lighthouse</1> sleeps well tonight.",
    ],
)
def test_damaged_tags_are_repaired(answer: str) -> None:
    assert repaired(SOURCE, answer).removesuffix(" ") == GOOD


@pytest.mark.parametrize(
    ("source", "answer", "expected"),
    [
        (
            "Vers un du long poème<1/> vers deux du poème<2/> vers trois du poème",
            "Verse one of the poem verse two of the poem verse three of the poem",
            "Verse one of the poem<1/> verse two of the poem<2/> verse three of the poem",
        ),
        (
            "Il voit <1>Marie</1> et <2>Pierre Dupont</2>, en <3>1848</3>.",
            "In 1848, he sees Marie and Pierre Dupont.",
            "In <3>1848</3>, he sees <1>Marie</1> and <2>Pierre Dupont</2>.",
        ),
        ("Avant <1/> apres", "Before after", "Before <1/> after"),
        ("<1>Tout en gras.</1>", "All in bold.", "<1>All in bold.</1>"),
        ("Fin.<1/>", "The end.", "The end.<1/>"),
        ("<1/> Fin.", "The end.", "<1/> The end."),
        (
            "老人与<1>海</1>。<2/>",
            "The old man and the sea.",
            "The old man and <1>the sea</1>.<2/>",
        ),
        ("The <1>sea</1>, calm.", "海、凪。", "<1>海</1>、凪。"),
        # spans that cross
        ("a <1>b</1> <2>c</2> d", "a <1>b <2>c</1> dddd</2>", "a <1>b c</1><2> dddd</2>"),
        ("a <1>b <2>c</2></1> d", "a <1>b <2>c</1> dd</2>", "a <1>b <2>c</2></1> dd"),
    ],
)
def test_what_was_lost_goes_where_the_words_went(source: str, answer: str, expected: str) -> None:
    assert repaired(source, answer) == expected


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("si a < b et x[2] > (1)", "if a < b and x[2] > (1)"),
        ("Taper <br> ou <nom>.", "Type <br> or <nom>."),
        ("<1>si a < b</1>", "<1>if a < b</1>"),
        ("Voir [2].", "See [2]."),
        ("voir (1)<1/>, (２)<2/>", "see (1)<1/>, (2)<2/>"),
        ("&lt;1&gt; <1/>", "&lt;1&gt; <1/>"),
        ("**gras** <1>x</1>", "**bold** <1>x</1>"),
        ("Il y a 5 <1>chats</1>", "There are 5 <1>cats</1>"),
        ("plus de cinq", "more than [5] < 6"),
    ],
)
def test_real_text_is_kept(source: str, answer: str) -> None:
    assert repaired(source, answer) == answer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("He <1>came</1>.", "He came."),
        ("He <i>came</i>.<br/>", "He came."),
        ("<1/> He came. <2/>", "He came."),
        ("He <<1>2>came.", "He came."),
    ],
)
def test_debris_in_plain_text_is_removed(answer: str, expected: str) -> None:
    assert re.sub(" +", " ", repaired("Il vint.", answer)).strip() == expected


def built(*pieces: str | tuple[str, str]) -> tuple[str, list[bool]]:
    paragraph, kept = Paragraph(), []
    for piece in pieces:
        if isinstance(piece, str):
            paragraph.add_text(piece)
        else:
            number = paragraph.open_span(piece[0] or None)
            paragraph.add_text(piece[1])
            kept.append(paragraph.close_span(number))
    return paragraph.text, kept


def test_spans_of_one_look_merge_and_empty_ones_go() -> None:
    assert built(("i", "a"), " ", ("i", "b")) == ("<1>a b</1>", [True, True])
    assert built(("i", "a"), ("i", "b"), "c") == ("<1>ab</1>c", [True, True])
    assert built(("i", "a"), " ", ("b", "b")) == ("<1>a</1> <2>b</2>", [True, True])
    assert built(("i", "a"), "x", ("i", "b")) == ("<1>a</1>x<2>b</2>", [True, True])
    assert built("a", ("i", " "), ("i", ""), ("b", "b")) == ("a <1>b</1>", [False, False, True])
    assert built(("i", "a"), ("b", ""), ("i", "b")) == ("<1>ab</1>", [True, False, True])
    assert built(("", "a"), ("", ""), ("", "b")) == ("<1>a</1><2></2><3>b</3>", [True] * 3)
    assert built(("i", "<"), ("i", "7>")) == ("<1><2/></1>", [True, True])


def test_what_is_hidden_goes_where_the_words_went() -> None:
    paragraph = Paragraph()
    start = paragraph.add_hidden()
    paragraph.add_text("Le roi ")
    middle = paragraph.add_hidden()
    paragraph.add_text("Arthur")
    end = paragraph.add_hidden()
    paragraph.add_text(" dort")
    assert paragraph.text == "Le roi Arthur dort"
    assert whole("King Arthur sleeps", paragraph.marked) == (
        f"<{start}/>King <{middle}/>Arthur<{end}/> sleeps"
    )
    assert whole(paragraph.text, paragraph.marked) == (
        f"<{start}/>Le roi <{middle}/>Arthur<{end}/> dort"
    )


@pytest.mark.parametrize(
    ("marked", "text", "translation", "expected"),
    [
        (
            "<1>L</1>e vieux <2>roi</2>",
            "Le vieux <2>roi</2>",
            "The <2>king</2>",
            "<1>T</1>he <2>king</2>",
        ),
        ("« <1>L</1>a mer.", "« La mer.", "“The sea.”", "“<1>T</1>he sea.”"),
        ("<1>L’</1>été finit.", "L’été finit.", "Summer is over.", "<1>S</1>ummer is over."),
        ("<1>É</1>tienne", "Étienne", "", "<1></1>"),
        ("<1>L</1>a mer", "La mer", "海", "<1>海</1>"),
        # whose look is no letter's but a word's, or a part's of one
        ("<1>Le</1> vieux", "<1>Le</1> vieux", "<1>The</1> old", "<1>The</1> old"),
        ("M<1>me</1> Roy", "M<1>me</1> Roy", "M<1>rs</1> Roy", "M<1>rs</1> Roy"),
        ("<1>A</1>\nbas", "<1>A</1>\nbas", "<1>A</1>\ndown", "<1>A</1>\ndown"),
    ],
)
def test_a_drop_cap_is_a_part_of_its_word(
    marked: str, text: str, translation: str, expected: str
) -> None:
    assert shown(marked) == text
    assert whole(text, marked) == marked
    assert whole(translation, marked) == expected


@pytest.mark.parametrize(
    ("source", "answer", "expected"),
    [
        ("L’<1>énergie</1> vaut.", "The<1>energy</1>counts.", "The <1>energy</1> counts."),
        ("Voir <1>la mer</1>. Partir.", "See<1>the sea</1>.Leave.", "See <1>the sea</1>.Leave."),
        ("La note<1/> finit.", "The note<1/>ends.", "The note<1/> ends."),
        ("L’<1>or</1> vaut.", "It is so.<1>Gold</1> counts.", "It is so. <1>Gold</1> counts."),
        ("im<1>possible</1>", "im<1>possible</1>", "im<1>possible</1>"),
        ("La <1>mer</1> dort.", "あ<1>海</1>い", "あ<1>海</1>い"),
    ],
)
def test_no_words_run_together_at_a_placeholder(source: str, answer: str, expected: str) -> None:
    assert repaired(source, answer) == expected


@pytest.mark.parametrize(
    ("source", "answer", "expected"),
    [
        ("dix <1/><2>vingt</2> francs", "ten <2>twenty</2> francs", "ten <1/><2>twenty</2> francs"),
        ("dix <1>vingt</1><2/> francs", "ten <1>twenty</1> francs", "ten <1>twenty</1><2/> francs"),
        ("dix <1><2/>vingt</1> francs", "ten <1>twenty</1> francs", "ten <1><2/>twenty</1> francs"),
    ],
)
def test_what_stood_beside_a_span_stays_outside(source: str, answer: str, expected: str) -> None:
    assert repaired(source, answer) == expected


def test_a_word_s_look_goes_to_a_word() -> None:
    source = "Chacun veille, et <1>personne</1> ne dort."
    answer = "All watch. To, the household."
    done = repaired(source, answer)
    assert re.search(r"<1>\w+</1>", done), done
    assert repaired("Il a <1>faim</1> !", "It is < <1>hunger</1> !") == "It is <1>hunger</1> !"


words = st.text("abé字 .,!", min_size=1, max_size=10)


@st.composite
def marked(draw: st.DrawFn) -> str:
    """Text with placeholders, numbered in reading order."""
    n = 0

    def inside(depth: int) -> str:
        nonlocal n
        text = ""
        for _ in range(draw(st.integers(0, 3))):
            text += draw(words)
            what = draw(st.sampled_from(["single", "span", "none"]))
            if what == "single":
                n += 1
                text += f"<{n}/>"
            elif what == "span" and depth:
                n += 1
                number = n
                text += f"<{number}>{inside(depth - 1)}</{number}>"
        return text

    return inside(2)


debris = st.sampled_from(
    [
        *("<1>", "</1>", "<2/>", "< 2 >", "<3", "/>", "<", ">", "</", "1>", "[1]", "(2)", "<i>"),
        *("</i>", "&lt;", "&gt;", "&amp;", "\\", "**", "＜", "1", "2", "/", " ", "<99>", "\n"),
    ]
)
answers = st.lists(debris | words).map("".join)


@given(marked(), answers)
@example("<1>字</1>", "<<1>1>")
def test_any_answer_gets_exactly_the_placeholders(source: str, answer: str) -> None:
    done = repaired(source, answer)
    assert is_kept(source, done)
    assert repaired(source, done) == done
    assert not PLACEHOLDER.search(PLACEHOLDER.sub("", done))


@given(marked())
def test_good_answers_stay(source: str) -> None:
    assert repaired(source, source) == source


@given(marked(), st.randoms())
def test_text_stays_when_tags_are_lost(source: str, random: Random) -> None:
    answer = PLACEHOLDER.sub(lambda m: m.group() if random.random() < 0.5 else "", source)
    done = repaired(source, answer)
    assert plain(done).split() == plain(source).split() or is_kept(source, done)
    assert "".join(plain(done).split()) == "".join(plain(source).split())


@given(st.text("ab é<>[]()/0123字\n"))
def test_plain_text_without_debris_stays(text: str) -> None:
    if not PLACEHOLDER.search(text):
        assert repaired(text, text) == text
