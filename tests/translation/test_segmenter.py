"""Cutting paragraphs: sentence ends in several scripts, and pieces that fit."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from templora_edge.documents.markup import PLACEHOLDER, is_balanced, is_kept, plain
from templora_edge.sentences import sentences
from templora_edge.translation.segmenter import assembled, has_words, segments, split

CASES = {
    "Il partit. Elle resta.": ["Il partit.", "Elle resta."],
    "« Bonjour, M. Dupont. » Il partit…": ["« Bonjour, M. Dupont. »", "Il partit…"],
    "“Stop!” she cried. “Why?” He ran.": ["“Stop!” she cried.", "“Why?”", "He ran."],
    "J. Verne l'écrit vers 8 h. du soir.": ["J. Verne l'écrit vers 8 h. du soir."],
    "It cost 3.50 dollars. No. 5 is next.": ["It cost 3.50 dollars.", "No. 5 is next."],
    "Encore?! Oui… Non.": ["Encore?!", "Oui…", "Non."],
    "Er kam (spät.) Dann ging er.": ["Er kam (spät.)", "Dann ging er."],
    "He left. <1>She</1> stayed.<2/> Then he came.": [
        "He left.", "<1>She</1> stayed.<2/>", "Then he came.",
    ],
    "彼は言った。「行こう！」そして去った…終わり。": [
        "彼は言った。", "「行こう！」", "そして去った…", "終わり。",
    ],
    "他走了。“为什么？”她问。": ["他走了。", "“为什么？”", "她问。"],
    "Mme. Bovary sortit. M. Homais entra, etc. et parla.": [
        "Mme. Bovary sortit.", "M. Homais entra, etc. et parla.",
    ],
    "no end": ["no end"],
    "": [],
}  # fmt: skip


@pytest.mark.parametrize("text", CASES)
def test_sentence_ends(text: str) -> None:
    assert [sentence.strip() for sentence in sentences(text)] == CASES[text]


@given(st.text(alphabet="aA é.!?…»«”“\"'。！」 \u00a0<1/>\n,", max_size=200))
def test_sentences_make_up_the_text(text: str) -> None:
    assert "".join(sentences(text)) == text


words = st.text(alphabet="abcé,;", min_size=1, max_size=12)
spans = st.tuples(st.integers(1, 9), words).map(lambda s: f"<{s[0]}>{s[1]}</{s[0]}>")
paragraphs = st.lists(words | spans | st.just("<2/>") | st.just("End. A"), min_size=1).map(" ".join)


@given(paragraphs, st.integers(12, 80))
def test_pieces_fit_and_make_up_the_paragraph(paragraph: str, most: int) -> None:
    def fits(piece: str) -> bool:
        return len(PLACEHOLDER.sub("", piece).strip()) <= most

    pieces = split(paragraph, fits)
    assert "".join(pieces) == paragraph
    assert all(map(fits, pieces))
    for piece in pieces:  # nothing was cut unnecessarily
        assert is_balanced(piece)
    if fits(paragraph):
        assert pieces == [paragraph]


def test_what_has_no_ends_is_cut_anyway() -> None:
    assert split("a" * 25, lambda piece: len(piece) <= 10) == ["a" * 10, "a" * 10, "a" * 5]
    assert split("あ" * 5, lambda piece: len(piece) <= 2) == ["ああ", "ああ", "あ"]


@pytest.mark.parametrize("space", ["\u00a0", "\u2009", " \u00a0", "\u3000"])
def test_white_space_of_another_kind_stays_between_segments(space: str) -> None:
    paragraph = f"Il partit.{space}Elle resta."
    pairs = [("Il partit.", "He left."), ("Elle resta.", "She stayed.")]
    assert assembled(paragraph, pairs) == f"He left.{space}She stayed."


def test_joined_pieces_take_the_space_of_their_script() -> None:
    three = [("Il partit.", "He left. "), ("Hum.", ""), ("Elle resta.", " She stayed.")]
    assert assembled("Il partit. Hum. Elle resta.", three) == "He left. She stayed."
    two = [("Il partit.", "彼は去った。"), ("Elle resta.", "彼女は残った。")]
    assert assembled("Il partit. Elle resta.", two) == "彼は去った。彼女は残った。"


lines = st.lists(paragraphs, min_size=1).flatmap(
    lambda each: st.lists(
        st.sampled_from(["\n", "\t", " \n ", "\n\n"]), min_size=len(each), max_size=len(each)
    ).map(lambda ends: "".join(f"{a}{b}" for a, b in zip(each, ends, strict=True)).strip())
)


def numbered(text: str) -> str:
    """``text`` with its placeholders counted, some spans around others and around line breaks."""
    n = 0
    opened: list[int] = []

    def next_one(match: re.Match[str]) -> str:
        nonlocal n
        if match[1]:
            return f"</{opened.pop()}>"
        n += 1
        if match[3]:
            return f"<{n}/>"
        opened.append(n)
        return f"<{n}>"

    text = re.sub(r"(?<=c)(\s+)(?=\w)", r"<1>\1", text, count=1)
    text += "</1>" if PLACEHOLDER.sub("", text) and not is_balanced(text) else ""
    return PLACEHOLDER.sub(next_one, text)


@given(lines.map(numbered), st.integers(6, 60))
def test_segments_stand_alone_and_come_back(paragraph: str, most: int) -> None:
    def fits(piece: str) -> bool:
        return len(PLACEHOLDER.sub("", piece).strip()) <= most

    assert is_kept(paragraph, paragraph)
    pieces = segments(paragraph, fits)
    for piece in pieces:
        assert is_balanced(piece)
        assert piece == piece.strip()
        assert not re.search(r"[\n\t]", piece)
    same = assembled(paragraph, [(piece, piece) for piece in pieces])
    assert is_kept(paragraph, same)
    assert "".join(plain(same).split()) == "".join(plain(paragraph).split())
    assert re.findall(r"[\n\t]", same) == re.findall(r"[\n\t]", paragraph)
    lost = assembled(paragraph, [(piece, plain(piece).upper()) for piece in pieces])
    assert is_kept(paragraph, lost)
    assert re.findall(r"[\n\t]", lost) == re.findall(r"[\n\t]", paragraph)


def test_a_span_across_segments_is_closed_and_opened() -> None:
    paragraph = "Un <1>roi. Une <2>reine.\nLe</2> fils</1> et.\tFin<3/>"
    pieces = segments(paragraph, lambda piece: len(plain(piece).strip()) < 12)
    assert pieces == [
        *("Un <1>roi.</1>", "<1>Une <2>reine.</2></1>", "<1><2>Le</2> fils</1> et."),
        "Fin<3/>",
    ]
    translations = ["A <1>king.</1>", "A queen", "The son and.", "End"]
    assert assembled(paragraph, list(zip(pieces, translations, strict=True))) == (
        "A <1>king. A <2>queen\nThe</2> son</1> and.\tEnd<3/>"
    )


@pytest.mark.parametrize(
    "paragraph", ["aaaaa–bbbbb cccc", "aaaa:bbbb, cccc", "x" * 40, "<1>aaaa</1>:<2>bbbb</2> c"]
)
def test_no_space_comes_where_a_segment_was_cut_without_one(paragraph: str) -> None:
    pieces = segments(paragraph, lambda piece: len(plain(piece)) < 8)
    assert len(pieces) > 1
    assert assembled(paragraph, [(piece, piece) for piece in pieces]) == paragraph


def test_a_script_without_spaces_is_translated_into_one_with_spaces() -> None:
    paragraph = "彼は去った。彼女は残った。"
    pieces = segments(paragraph, lambda piece: len(piece) < 8)
    translations = ["He left.", "She stayed."]
    assert assembled(paragraph, list(zip(pieces, translations, strict=True))) == (
        "He left. She stayed."
    )


def test_lost_markup_costs_its_own_segment_alone() -> None:
    paragraph = "<1>Marie</1> dort.\nIl voit <2>Paul</2> là-bas<3/>."
    pieces = segments(paragraph, lambda piece: True)
    assert assembled(paragraph, [(pieces[0], "<1>Mary</1> sleeps."), (pieces[1], "He <2 x.")]) == (
        "<1>Mary</1> sleeps.\nHe<2> x</2><3/>."
    )


@pytest.mark.parametrize("text", ["", "* * *", "1866", "II", "<1>XIV.</1>", "— 3 —", "§ 12"])
def test_nothing_to_translate(text: str) -> None:
    assert not has_words(text)


@pytest.mark.parametrize("text", ["Chapitre II", "Oui.", "il", "IIII", "第二章", "<1>A</1> 2"])
def test_something_to_translate(text: str) -> None:
    assert has_words(text)
