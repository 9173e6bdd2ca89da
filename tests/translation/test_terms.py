"""Terms of documents, by language and script, and the list with renderings."""

import csv
import io
import json
from pathlib import Path

import pytest
from command import check_failure, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paths import EXAMPLES

from templora_edge.translation.glossary.glossary import Glossary
from templora_edge.translation.prompt import Pair
from templora_edge.translation.terms.phrases import log_likelihood
from templora_edge.translation.terms.term_list import TermRow, to_table
from templora_edge.translation.terms.terms import TermKind, terms_of
from templora_edge.translation.terms.words import term_sentences

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ENGLISH_TEXT = """THE JOURNEY OF PASSEPARTOUT
Mr. Fogg's house was in Saville Row. "Passepartout," said Mr. Fogg, "we go to the Bank of England."
I think that Passepartout didn't like the Bank of England. Then Passepartout went out. It was
Passepartout's hat that O'Brien found, and I'm sure O'Brien told Mr. Fogg. He met D'Artagnan there,
and D'Artagnan knew Louis XIV well. Was Louis XIV old? The sperm whale is big. A sperm whale sleeps.
No sperm whale barks. He saw captain Speedy. "Well, captain Speedy?" The captain Speedy nodded. With
captain Speedy they went.""".replace("\n", " ").replace("PASSEPARTOUT ", "PASSEPARTOUT\n")
CASES = {
    "en": (
        ENGLISH_TEXT,
        {
            "Passepartout": 4, "Mr. Fogg": 3, "Bank of England": 2, "O'Brien": 2, "D'Artagnan": 2,
            "Louis XIV": 2, "captain Speedy": 4, "sperm whale": 3,
        },
    ),
    "fr": (
        "M. Fogg entra. Alors M. Fogg vit l'Angleterre. Qu'est-ce que l'Angleterre pour M. Fogg? "
        "D'Artagnan sortit. On vit d'Artagnan. L'épée de d'Artagnan brilla. D'Artagnan parla à "
        "Mme Bovary. Puis Mme Bovary rit. —Emma! dit-il. Il aimait Emma. Emma et Charles de Valois "
        "partirent. Elle suivit Charles de Valois. Et Emma revint.",
        {
            "M. Fogg": 3, "Angleterre": 2, "d'Artagnan": 4, "Mme Bovary": 2, "Emma": 4,
            "Charles de Valois": 2,
        },
    ),
    "de": (
        "Der Kapitän stand an Deck. Dann rief Ahab den Steuermann. Am Abend sprach Ahab mit "
        "Starbuck über den Wal. Der weiße Wal war groß. Da nickte Starbuck. „Das Schiff ist gut“, "
        "sagte Starbuck. Das Schiff fuhr nach Nantucket. In Nantucket wartete die Frau. Nun war "
        "Ahabs Bein aus Holz. Das Holz war alt. Die Frau kam aus Nantucket. Die Männer sahen den "
        "Wal. Die Wale kamen. Herr Müller sah Herrn Maier. Dann ging Herr Müller.",
        {"Ahab": 3, "Starbuck": 3, "Nantucket": 3, "Herr Müller": 2},
    ),
    "ru": (
        "Дома ждал Раскольников. Навстречу Раскольникову шёл Разумихин. Ему сказал Разумихин о "
        "Соне. Там Соня смотрела на Раскольникова. Он любил Соню. Тогда Порфирий Петрович говорил "
        "с Раскольниковым. Вечером Порфирий Петрович ушёл.",
        {"Раскольников": 4, "Разумихин": 2, "Соне": 3, "Порфирий Петрович": 2},
    ),
    "zh": (
        "却说林黛玉自在荣国府以来，贾母万般怜爱。宝玉看罢，笑道：“这个妹妹我曾见过的。”黛玉心中想着，忽见丫鬟来报。"
        "宝玉和黛玉二人亲密友爱，与别个不同。林黛玉听了不觉红了脸。贾母笑道：“可又是胡说。”贾宝玉便走近黛玉身边坐下。"
        "王熙凤走了，贾母笑道：“你不认得她。”王熙凤笑着拉着林黛玉的手。荣国府中人人都怕王熙凤。",
        {"林黛玉": 3, "王熙凤": 3, "贾母": 3, "黛玉": 6, "宝玉": 3},
    ),
    "ja": (
        "シャーロック・ホームズは窓の外を見た。ワトソンは新聞を読んでいた。ホームズは言った。「ワトソン、東京警視庁から電報だ。」"
        "東京警視庁のレストレード警部が来た。レストレード警部は椅子に座った。ワトソンはレストレード警部を見た。ホームズは笑った。"
        "東京警視庁は困っていた。",
        {"レストレード警部": 3, "東京警視庁": 3, "ホームズ": 3, "ワトソン": 3},
    ),
    "ar": (
        "ذهب شهرزاد إلى القصر. قالت شهرزاد للملك قصة. جاء علي بابا من المدينة. فتح علي بابا الباب. "
        "دخل علي بابا الكهف. خرج علي بابا من الكهف.",
        {"علي بابا": 4},
    ),
}  # fmt: skip


@pytest.mark.parametrize("language", CASES)
def test_terms_of_a_language(language: str) -> None:
    text, expected = CASES[language]
    found = {term.text: term.count for term in terms_of(text.split("\n"), language)}
    assert {name: found.get(name) for name in expected} == expected, found
    if language not in ("zh", "ja", "ar"):
        others = [term.text for term in terms_of([text], language) if term.kind is TermKind.NAME]
        assert set(others) <= expected.keys() | {"Saville Row"}


def test_a_short_text_without_terms() -> None:
    assert terms_of([], "fr") == []
    assert terms_of(["* * *", "1866"], "en") == []
    assert terms_of(["Le phare s'allume.", "INTRODUCTION"], "fr") == []


def test_words_know_what_stands_before_them() -> None:
    (sentence,) = term_sentences(["<1>L'Aouda</1> vit M. Fogg, «Fix», et l’Inde"], "fr")
    assert [(word.text, word.begins, word.joins) for word in sentence.words] == [
        ("L", True, False), ("Aouda", False, True), ("vit", False, True), ("M", False, True),
        ("Fogg", False, True), ("Fix", True, False), ("et", True, False), ("l", False, True),
        ("Inde", False, True),
    ]  # fmt: skip
    for word in sentence.words:
        assert sentence.text[word.begin : word.end] == word.text


@PATIENT
@given(st.lists(st.text("AaBbÉé'’-. \n,de王ア", max_size=60), max_size=6))
def test_every_term_occurs_as_often_as_its_count(paragraphs: list[str]) -> None:
    text = " ".join(" ".join(paragraphs).split())
    for term in terms_of(paragraphs, "fr"):
        assert term.count >= 2
        assert term.text in text
        assert term.example.strip()


@PATIENT
@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 500))
def test_log_likelihood_is_that_of_a_table(both: int, first: int, second: int, rest: int) -> None:
    """It is 2 n times the mutual information of the two events, summed the slow way."""
    import math

    a, b, n = both + first, both + second, both + first + second + rest
    slow = 0.0
    for count, row, column in (
        (both, a, b), (first, a, n - b), (second, n - a, b), (rest, n - a, n - b)
    ):  # fmt: skip
        if count:
            slow += 2 * count * (math.log(count / n) - math.log(row / n) - math.log(column / n))
    found = log_likelihood(both, a, b, n)
    assert found == pytest.approx(slow if both * n > a * b else 0.0, abs=1e-6)


def test_the_list_reads_back_as_a_glossary(tmp_path: Path) -> None:
    rows = [
        TermRow("Emma, la femme", 'Emma, "the wife"', "name", 3, '=HYPERLINK("x")'),
        TermRow("chemin de fer", "", "term", 2, "Un\nchemin"),
        TermRow("l'Inde; ou", "India", "name", 2, "- Oui."),
    ]
    text = to_table(rows)
    assert [row[4] for row in csv.reader(io.StringIO(text))] == [
        "example", 'HYPERLINK("x")', "Un\nchemin", "Oui."
    ]  # fmt: skip
    for encoding in ("utf-8", "utf-8-sig"):
        path = tmp_path / "terms.csv"
        path.write_text(text, encoding=encoding)
        assert Glossary.read(path, "fr", "en").terms == (
            Pair("Emma, la femme", 'Emma, "the wife"'),
            Pair("l'Inde; ou", "India"),
        )


def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "terms.csv"
    arguments = ["terms", EXAMPLES / "phare.epub", "-sl", "fr", "-tl", "en", "-t", 1, "-n", 8]
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    header, *lines = csv.reader(io.StringIO(result.stdout))
    assert header == ["source", "translation", "kind", "count", "example"]
    assert 0 < len(lines) <= 8
    assert f"terms: {len(lines)}, with a rendering: " in result.stderr
    as_json = json.loads(run(*arguments, "--json").stdout)
    assert [[*map(str, row.values())][:4] for row in as_json] == [line[:4] for line in lines]
    assert run(*arguments, "-o", out).returncode == 0
    assert out.read_text(encoding="utf-8-sig") == result.stdout
    check_failure(run(*arguments, "-o", out), f"-o {out}: exists")
    kept = {line[0]: line[1] for line in lines if line[1]}
    assert {p.source: p.translation for p in Glossary.read(out, "fr", "en").terms} == kept


def test_languages_that_the_bundled_model_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(ENGLISH_TEXT, encoding="utf-8")
    result = run("terms", path, "-sl", "en", "-tl", "de")
    assert result.returncode == 0
    assert "only names that stay have a rendering" in result.stderr
    rows = {row[0]: row[1] for row in csv.reader(io.StringIO(result.stdout))}
    assert rows["Passepartout"] == "Passepartout"
    assert rows["Mr. Fogg"] == rows["sperm whale"] == ""
    result = run("terms", path, "-sl", "en", "-tl", "ja")
    rows = {row[0]: row[1] for row in csv.reader(io.StringIO(result.stdout))}
    assert rows["Passepartout"] == "", "no name stays in another script"
    check_failure(run("terms", path, "-sl", "en", "-tl", "xx-none"), "language 'xx-none'")
    check_failure(run("terms", tmp_path / "none.txt", "-sl", "fr", "-tl", "en"), "no such file")
