"""Numbers of a source and its translation, by value."""

import pytest

from templora_edge.translation.number_words import changed

SAME = [
    ("fr", "en", "14 h 30", "2:30 p.m."), ("fr", "en", "XIXe siècle", "19th century"),
    ("fr", "en", "75 000 francs", "seventy-five thousand francs"),
    ("fr", "en", "1 234,50 €", "€1,234.50"), ("fr", "en", "le 1er mai", "on the first of May"),
    ("fr", "en", "les années 80", "the eighties"), ("fr", "en", "1,5 million", "1.5 million"),
    ("fr", "en", "2 millions", "2,000,000"), ("fr", "en", "en 1866", "in eighteen sixty-six"),
    ("fr", "en", "mille huit cent douze", "1812"), ("fr", "en", "quatre-vingt-dix-sept", "97"),
    ("fr", "en", "à midi", "at 12 o'clock"), ("fr", "en", "21e", "twenty-first"),
    ("en", "de", "21 ships", "einundzwanzig Schiffe"),
    ("en", "es", "26 ships", "veintiséis barcos"),
    ("en", "it", "48 ships", "quarantotto navi"), ("en", "fr", "71", "soixante et onze"),
    ("en", "fr", "1900", "dix-neuf cents"), ("en", "zh", "12 coins", "十二个硬币"),
    ("en", "zh", "In 1923", "一九二三年"), ("en", "ar", "12 books", "اثنا عشر كتابا"),
    ("en", "ar", "in 1923", "في ١٩٢٣"), ("fr", "en", "03/05/1866", "03/05/1866"),
    ("fr", "en", "Ps 3.14.15", "Ps 3:14-15"),
]  # fmt: skip
CHANGED = [
    ("fr", "en", "5 francs", "7 francs", ["5", "7"]),
    ("fr", "en", "en 1866", "in 1868", ["1866", "1868"]),
    ("fr", "en", "5 francs", "some francs", ["5"]),
    ("fr", "en", "1,5 kg", "1.6 kg", ["1,5", "1.6"]),
    ("fr", "en", "quelques francs", "300 francs", ["300"]),
    ("en", "ar", "12 books", "13 ", ["12", "13"]),
    ("fr", "en", "3 000", "30,000", ["3 000", "30,000"]),
]  # fmt: skip


@pytest.mark.parametrize(("from_", "to", "source", "translation"), SAME)
def test_the_same_number(from_: str, to: str, source: str, translation: str) -> None:
    assert changed(source, translation, from_, to) == []


@pytest.mark.parametrize(("from_", "to", "source", "translation", "expected"), CHANGED)
def test_another_number(
    from_: str, to: str, source: str, translation: str, expected: list[str]
) -> None:
    assert changed(source, translation, from_, to) == expected
