"""Glossaries as spreadsheets and other tools write them."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from templora_edge.errors import DocumentError
from templora_edge.translation.glossary.glossary import Glossary
from templora_edge.translation.glossary.pair_table import DELIMITERS, read_table
from templora_edge.translation.prompt import Pair

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
KNOWN = (Pair("phare", "lighthouse"), Pair("gardien", "keeper"))
DIALECTS = {
    "commas": "phare,lighthouse\ngardien,keeper\n",
    "semicolons": "phare;lighthouse\ngardien;keeper",
    "tabs": "phare\tlighthouse\ngardien\tkeeper\n",
    "bars": "phare | lighthouse\ngardien | keeper\n",
    "quoted": '"phare";"lighthouse"\n"gardien";"keeper"\n',
    "quoted tabs": '"phare"\t"lighthouse"\n"gardien"\t"keeper"\n',
    "apostrophes": "'phare','lighthouse'\n'gardien','keeper'\n",
    "spaces after commas": '"phare", "lighthouse"\n"gardien", "keeper"\n',
    "header": "source,target\nphare,lighthouse\ngardien,keeper\n",
    "header of codes": "EN;FR\nlighthouse;phare\nkeeper;gardien\n",
    "header of tags": "fr-FR,en-GB\nphare,lighthouse\ngardien,keeper\n",
    "header of languages": "French,English\nphare,lighthouse\ngardien,keeper\n",
    "header in French": "français\tanglais\nphare\tlighthouse\ngardien\tkeeper\n",
    "header of terms": "Term,Translation\nphare,lighthouse\ngardien,keeper\n",
    "header of several words": "No,Target term (English),Source term\n"
    "1,lighthouse,phare\n2,keeper,gardien\n",
    "header of an ID": "id;note;fr;de;en\n1;x;phare;Turm;lighthouse\n2;;gardien;Wärter;keeper\n",
    "more columns": "phare,lighthouse,noun,12\ngardien,keeper,noun,3\n",
    "empty columns": "phare;lighthouse;;;\ngardien;keeper;;;\n;;;;\n",
    "comments": "# ours, of May\n\nphare,lighthouse\n#gardien\n\n# a, b\ngardien,keeper\n\n",
    "sep line": "sep=;\nphare;lighthouse\ngardien;keeper\n",
    "sep line, header": '"sep=,"\r\nsource,target\r\nphare,lighthouse\r\ngardien,keeper\r\n',
    "sep line, another": "SEP=^\nphare^lighthouse\ngardien^keeper\n",
    "CRLF": "phare,lighthouse\r\ngardien,keeper\r\n",
    "CR": "phare;lighthouse\rgardien;keeper\r",
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt"])
@pytest.mark.parametrize("name", DIALECTS)
def test_a_glossary_in_any_dialect(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"terms{suffix}"
    path.write_text(DIALECTS[name], encoding="utf-8", newline="")
    assert Glossary.read(path, "fr", "en").terms == KNOWN


def test_a_delimiter_is_told_from_punctuation() -> None:
    for text, pair in (
        ("Emma, sa femme;Emma, his wife\nOui, oui;Yes\n", Pair("Emma, sa femme", "Emma, his wife")),
        ("le phare, oui\tyes; the lighthouse\n", Pair("le phare, oui", "yes; the lighthouse")),
        ('"Emma, la femme",Emma\nphare,lighthouse\n', Pair("Emma, la femme", "Emma")),
        ('"phare ""rouge""",lighthouse\ngardien,keeper\n', Pair('phare "rouge"', "lighthouse")),
        ('"phare\nrouge",lighthouse\ngardien,keeper\n', Pair("phare\nrouge", "lighthouse")),
        ('Le "grand" phare,the lighthouse\n', Pair('Le "grand" phare', "the lighthouse")),
        ('"Oui," dit-il.\t"Yes."\n"Non."\t"No."\n', Pair('"Oui," dit-il.', '"Yes."')),
    ):  # fmt: skip
        assert read_table(text, "fr", "en")[0].pair == pair, text


def test_sniffer_takes_letters_for_delimiters() -> None:
    """Why `read_table` finds the dialect itself."""
    wrong = []
    for name, text in DIALECTS.items():
        try:
            found = csv.Sniffer().sniff(text).delimiter
        except csv.Error:
            found = ""
        wrong += [name] if found not in DELIMITERS else []
    assert {"bars", "comments"} <= set(wrong)


texts = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=12
).map(str.strip).filter(lambda text: text and not text.startswith("#"))  # fmt: skip


@PATIENT
@given(
    pairs=st.lists(st.tuples(texts, texts), min_size=1, max_size=5),
    delimiter=st.sampled_from(DELIMITERS),
    all_quoted=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n"]),
    says_separator=st.booleans(),
    more=st.integers(0, 2),
)
def test_a_table_with_a_header_is_read_as_it_was_written(
    pairs: list[tuple[str, str]],
    delimiter: str,
    all_quoted: bool,
    line_end: str,
    says_separator: bool,
    more: int,
) -> None:
    if delimiter == "\t" and not all_quoted:  # between tabs, marks of some cells are text
        pairs = [(a.replace('"', "”"), b.replace('"', "”")) for a, b in pairs]
    out = io.StringIO(newline="")
    if says_separator:
        out.write(f"sep={delimiter}{line_end}")
    writer = csv.writer(
        out,
        delimiter=delimiter,
        quoting=csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL,
        lineterminator=line_end,
    )
    writer.writerow(["source", "translation", *["note"] * more])
    writer.writerows([*pair, *["x, y; z"] * more] for pair in pairs)
    text = out.getvalue().replace("\r\n", "\n")
    assert [row.pair for row in read_table(text, "fr", "en")] == [Pair(*pair) for pair in pairs]


@pytest.mark.parametrize(
    ("encoding", "languages"),
    [
        ("utf-8-sig", ("fr", "en")), ("utf-16", ("fr", "en")), ("utf-16-le", ("fr", "en")),
        ("cp1252", ("fr", "en")), ("mac_roman", ("fr", "en")), ("cp1251", ("en", "ru")),
        ("koi8_r", ("ru", "en")), ("cp1253", ("el", "en")), ("shift_jis", ("ja", "en")),
        ("gb18030", ("en", "zh")),
    ],
)  # fmt: skip
def test_encodings(tmp_path: Path, encoding: str, languages: tuple[str, str]) -> None:
    words = {
        "fr": ("la jetée", "nièce"), "en": ("pier", "niece"), "ru": ("Причал", "Племянница"),
        "el": ("προβλήτα", "ανιψιά"), "ja": ("桟橋の端", "彼の姪"), "zh": ("码头边上", "他的侄女"),
    }  # fmt: skip
    path = tmp_path / "terms.csv"
    lines = [";".join(pair) for pair in zip(*(words[one] for one in languages), strict=True)]
    path.write_bytes("\r\n".join(lines).encode(encoding))
    expected = tuple(Pair(*line.split(";")) for line in lines)
    assert Glossary.read(path, *languages).terms == expected


def test_errors_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "terms.csv"
    for text, message in (
        ("phare,lighthouse\n\ngardien\n", r"terms\.csv: line 3 has no translation \('gardien'\)"),
        ('"phare","lighthouse"\n"gardien,"keeper"\n', r"terms\.csv: line 2: .*written twice"),
        ('"a","b"\n"phare,lighthouse\ngardien,keeper\n', r"terms\.csv: line 2: .*written twice"),
        ("# nothing\n", r"terms\.csv: no terms; expected lines of source,translation"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DocumentError, match=f"^--glossary .*{message}") as caught:
            Glossary.read(path, "fr", "en")
        assert "\n" not in str(caught.value)
    with pytest.raises(DocumentError, match=r"terms\.xlsx: a spreadsheet; save it as CSV"):
        Glossary.read(tmp_path / "terms.xlsx", "fr", "en")
