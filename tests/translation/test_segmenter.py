"""Cutting paragraphs: sentence ends in several scripts, and pieces that fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from templora_edge.documents.markup import PLACEHOLDER, is_balanced
from templora_edge.translation.segmenter import has_words, join, sentences, split

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


def test_joined_pieces_take_the_space_of_their_script() -> None:
    assert join(["He left. ", "", " She stayed."]) == "He left. She stayed."
    assert join(["彼は去った。", "彼女は残った。"]) == "彼は去った。彼女は残った。"


@pytest.mark.parametrize("text", ["", "* * *", "1866", "II", "<1>XIV.</1>", "— 3 —", "§ 12"])
def test_nothing_to_translate(text: str) -> None:
    assert not has_words(text)


@pytest.mark.parametrize("text", ["Chapitre II", "Oui.", "il", "IIII", "第二章", "<1>A</1> 2"])
def test_something_to_translate(text: str) -> None:
    assert has_words(text)
