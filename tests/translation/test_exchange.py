"""XLIFF and TMX: what is written comes back, validates, and survives other tools."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from paths import ROOT
from translate.storage.tmx import tmxfile
from translate.storage.xliff2 import Xliff2File

from templora_edge.documents.markup import PLACEHOLDER, closed, plain
from templora_edge.errors import DocumentError, JobError, OptionError
from templora_edge.job_store.folder import folder_of
from templora_edge.translation.exchange import (
    SUFFIXES,
    ExchangedJob,
    ExchangedSegment,
    State,
    read_exchange,
    write_exchange,
)
from templora_edge.translation.exchange.export import export
from templora_edge.translation.exchange.language_match import nearest
from templora_edge.translation.parallel_text import read_bitext
from templora_edge.translation.prompt import Pair
from templora_edge.translation.store.segment_row import Origin, SegmentRow
from templora_edge.translation.store.store import Store

NAMESPACES = {"x": "urn:oasis:names:tc:xliff:document:2.0"}


def row(
    number: int,
    source: str,
    translation: str | None = None,
    origin: Origin = Origin.MODEL,
    *,
    paragraph: int | None = None,
    flags: tuple[str, ...] = (),
) -> SegmentRow:
    at = number - 1 if paragraph is None else paragraph
    origin = Origin.NONE if translation is None else origin
    return SegmentRow(number, number, at, source, translation, origin, flags, 1, 5, 0.1)


ROWS = [
    row(1, "Le gardien <1>du phare</1> dort<2/>.", "The keeper <1>of the light</1> sleeps<2/>."),
    row(2, "Il dit\u202f: «\xa0Non\xa0!\xa0»", 'He said: "No!" & <i>left</i>', Origin.EDIT),
    row(4, "<1>Une phrase coupée</1>", "<1>A sentence cut</1>", paragraph=2),
    row(3, "<1>en deux.</1>", "<1>in two.</1>", paragraph=2, flags=("numbers", "too long")),
    row(5, "Encore\x01 une\x0b fois\ufffe.", "Once\x01 more\ttabbed\r.", Origin.MEMORY),
    row(6, "<1><2>Deux</2> trois</1> <3/>", "<3/> <2><1>Two</1></2> three"),
    row(7, "Pas encore <1>traduit</1>"),
]  # fmt: skip


def job(rows: Sequence[SegmentRow]) -> ExchangedJob:
    return ExchangedJob("fr", "en-US", "roman & <phare>.epub", rows)


def written(path: Path, rows: Sequence[SegmentRow]) -> Path:
    write_exchange(path, job(rows), path.suffix)
    return path


def read(path: Path) -> list[ExchangedSegment]:
    return read_exchange(path, "--edited", "fr", "en")


def expected(rows: Sequence[SegmentRow], suffix: str) -> list[tuple[str | None, ...]]:
    kept = rows if suffix != ".tmx" else [one for one in rows if one.translation is not None]
    return [(f"s{one.id}", one.source, one.translation) for one in kept]


def found(path: Path) -> list[tuple[str | None, ...]]:
    return [(one.id, one.source, one.translation) for one in read(path)]


@st.composite
def marked(draw: st.DrawFn) -> tuple[str, str]:
    """A text with placeholders, and another one with the same, nested in another way."""
    alphabet = st.characters(exclude_categories=["Cs"], exclude_characters="<>/")
    texts = st.text(alphabet, max_size=6)
    n = draw(st.integers(0, 5))
    first = draw(st.integers(1, 99_000))
    kinds = [draw(st.booleans()) for _ in range(n)]

    def nested(numbers: list[int]) -> str:
        if not numbers:
            return draw(texts)
        number, left = numbers[0], numbers[1:]
        cut = draw(st.integers(0, len(left)))
        inside = "" if kinds[number] else nested(left[:cut])
        name = number + first
        mark = f"<{name}/>" if kinds[number] else f"<{name}>{inside}</{name}>"
        return draw(texts) + mark + nested(left if kinds[number] else left[cut:])

    order = draw(st.permutations(range(n)))
    return f"a{nested(list(range(n)))}", f"b{nested(list(order))}"


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(marked(), min_size=1, max_size=4))
@pytest.mark.parametrize("suffix", [".xlf", ".tmx"])
def test_any_text_comes_back(
    suffix: str, pairs: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [row(i, *pair, paragraph=0) for i, pair in enumerate(pairs, 1)]
    path = written(tmp_path_factory.mktemp("exchange") / f"a{suffix}", rows)
    assert found(path) == expected(rows, suffix)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_a_job_has_is_in_the_file(suffix: str, tmp_path: Path) -> None:
    path = written(tmp_path / f"a{suffix}", ROWS)
    assert found(path) == expected(ROWS, suffix)
    again = written(tmp_path / f"b{suffix}", ROWS)
    assert again.read_bytes() == path.read_bytes()
    states = [one.state for one in read(path)]
    if suffix == ".tmx":
        assert states == [None, None, None, State.INITIAL, None, None]
        assert path.read_text().count('type="x-origin">edit<') == 1
    else:
        translated, initial = State.TRANSLATED, State.INITIAL
        assert states == [translated, State.FINAL, translated, initial, State.REVIEWED,
                          translated, initial]  # fmt: skip
        tree = etree.parse(path)
        assert tree.getroot().get("srcLang") == "fr"
        assert tree.getroot().get("trgLang") == "en-US"
        [file] = tree.findall(".//x:file", NAMESPACES)
        assert file.get("original") == "roman & <phare>.epub"
        notes = [str(note.text) for note in tree.iterfind(".//x:note", NAMESPACES)]
        assert notes == ["s3: numbers, too long"]


@pytest.mark.parametrize("suffix", [".xlf", ".tmx"])
def test_files_are_valid(suffix: str, tmp_path: Path, schemas: Path) -> None:
    tree = etree.parse(written(tmp_path / f"a{suffix}", ROWS))
    validator: etree.XMLSchema | etree.DTD
    if suffix == ".xlf":
        validator = etree.XMLSchema(etree.parse(schemas / "xliff-core-2.0.xsd"))
        for unit in tree.iterfind(".//x:unit", NAMESPACES):  # which a schema cannot say
            ids = [one.get("id") for one in unit.iterfind("x:segment", NAMESPACES)]
            for segment in unit.iterfind("x:segment", NAMESPACES):
                [source] = segment.findall("x:source", NAMESPACES)
                ids += [code.get("id") for code in source.iter("{*}pc", "{*}ph")]
            assert len(set(ids)) == len(ids)
    else:
        validator = etree.DTD(str(schemas / "tmx14.dtd"))
    assert validator.validate(tree), validator.error_log
    tree.getroot()[0].set("nonsense", "1")
    assert not validator.validate(tree)


def test_translate_toolkit_opens_and_saves_without_loss(tmp_path: Path) -> None:
    """An independent program, used as a tester only."""
    rows = [one for one in ROWS if "\x01" not in one.source]
    path = written(tmp_path / "a.xlf", rows)
    store = Xliff2File.parsefile(str(path))  # type: ignore[no-untyped-call]
    assert len(store.units) == len(rows)
    assert store.sourcelanguage == "fr"
    store.savefile(str(tmp_path / "saved.xlf"))
    assert found(tmp_path / "saved.xlf") == found(path)
    path = written(tmp_path / "a.tmx", rows)
    memory = tmxfile.parsefile(str(path))  # type: ignore[no-untyped-call]
    translated = [one for one in rows if one.translation is not None]
    assert len(memory.units) == len(translated)
    assert plain(str(memory.units[1].target)) == rows[1].translation
    memory.savefile(str(tmp_path / "saved.tmx"))
    assert found(tmp_path / "saved.tmx") == found(path)


GOOD = "The keeper <1>of the light</1> sleeps<2/>."
CODES: dict[str, tuple[str, str, str]] = {
    "dropped": ("<ph [^>]*/>", "", GOOD),
    "reordered": (
        "<target>(The keeper) (<pc.*pc>) (sleeps<ph.*/>).",
        r"<target>\2 - \1 \3.",
        "<1>of the light</1> - The keeper sleeps<2/>.",
    ),
    "split": (r'<pc id="1"[^>]*>(.*)</pc>', r'<sc id="1"/>\1<ec startRef="1"/>', GOOD),
    "lost on one side": (r'<pc id="1"[^>]*>(.*)</pc>', r'<sc id="1"/>\1', GOOD),
    "foreign": ("sleeps", '<pc id="9">sleeps</pc>', GOOD),
    "marked": ("sleeps", '<mrk id="m1" type="comment" value="?">sleeps</mrk>', GOOD),
}


@pytest.mark.parametrize("kind", CODES)
def test_codes_that_other_tools_changed_are_put_right(kind: str, tmp_path: Path) -> None:
    pattern, replacement, wanted = CODES[kind]
    path = written(tmp_path / "a.xlf", ROWS)
    text = path.read_text(encoding="utf-8")
    target = re.search("<target>.*?</target>", text)
    assert target is not None
    changed = re.sub(pattern, replacement, target.group())
    assert changed != target.group()
    path.write_text(text.replace(target.group(), changed), encoding="utf-8")
    [first, *others] = read(path)
    assert (first.source, first.translation) == (ROWS[0].source, wanted)
    assert [(one.id, one.source) for one in others] == [
        (f"s{one.id}", one.source) for one in ROWS[1:]
    ]


XLIFF_1 = """\
<?xml version="1.0" encoding="utf-16"?>
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">
  <file original="a.txt" source-language="en" target-language="de" datatype="plaintext">
    <body><trans-unit id="9"><source>No</source><target>Nein</target></trans-unit></body>
  </file>
  <file original="a.txt" source-language="FR-fr" target-language="en_GB" datatype="plaintext">
    <body>
      <group><trans-unit id="a7" approved="yes">
        <source>Le
          <g id="17">phare</g> dort<x id="b"/>.</source>
        <target>The <g id="17">lighthouse</g><x id="b"/>  sleeps.</target>
      </trans-unit></group>
      <trans-unit id="2">
        <source>Un. Deux.</source>
        <seg-source><mrk mtype="seg" mid="s1">Un.</mrk> <mrk mtype="seg" mid="s2">Deux
          <bpt id="1">&lt;b></bpt>fois<ept id="1">&lt;/b></ept>.</mrk></seg-source>
        <target state="needs-translation"><mrk mtype="seg" mid="s1">One.</mrk></target>
      </trans-unit>
    </body>
  </file>
</xliff>
"""


def test_xliff_1_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.xlf"
    path.write_bytes(XLIFF_1.encode("utf-16"))
    assert read(path) == [
        ExchangedSegment("a7", "Le <17>phare</17> dort<1/>.",
                         "The <17>lighthouse</17><1/> sleeps.", State.FINAL),
        ExchangedSegment("s1", "Un.", "One.", State.INITIAL),
        ExchangedSegment("s2", "Deux <1>fois</1>.", None, State.INITIAL),
    ]  # fmt: skip


TMX = """\
<?xml version="1.0"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="*all*"/><body>
  <tu><note>old</note>
    <tuv xml:lang="EN"><seg>the <bpt i="3" x="1">{b}</bpt>light<ept i="3">{/b}</ept></seg></tuv>
    <tuv lang="FR-CA"><seg>le <bpt i="1" x="1">{b}</bpt>phare<ept i="1">{/b}</ept>
    </seg></tuv>
    <tuv xml:lang="de"><seg>der Leuchtturm</seg></tuv>
  </tu>
  <tu><tuv xml:lang="en-GB"><seg>colour</seg></tuv><tuv xml:lang="en"><seg>color</seg></tuv>
    <tuv xml:lang="fra"><seg>couleur<ut>{x}</ut></seg></tuv></tu>
  <tu><tuv xml:lang="en"><seg></seg></tuv><tuv xml:lang="fr"><seg>rien</seg></tuv></tu>
  <tu tuid="7"><prop type="x-flags">numbers</prop>
    <tuv xml:lang="en"><seg>six</seg></tuv><tuv xml:lang="fr"><seg>7</seg></tuv></tu>
  <tu><tuv xml:lang="en"><seg>only</seg></tuv></tu>
</body></tmx>
"""


def test_tmx_of_other_tools_and_as_references(tmp_path: Path) -> None:
    path = tmp_path / "a.tmx"
    path.write_text(TMX, encoding="utf-8")
    phare, couleur, empty, flagged = read(path)
    assert phare.source.strip() == "le <1>phare</1>"
    assert phare.translation == "the <1>light</1>"
    assert (couleur.source, couleur.translation) == ("couleur", "color")
    assert (empty.source, empty.translation) == ("rien", None)
    assert flagged.state == State.INITIAL
    assert read_bitext(path, "fr-FR", "en", "--references") == [
        Pair("le <1>phare</1>", "the <1>light</1>"),
        Pair("couleur", "color"),
    ]
    with pytest.raises(DocumentError, match=r"EN, FR-CA.*; expected units in fr and es"):
        read_exchange(path, "--memory", "fr", "es")


def test_language_variants() -> None:
    tags = ["pt-PT", "PT_br", "EN", "fre", "zh-Hant", ""]
    assert nearest("pt-BR", tags) == "PT_br"
    assert nearest("pt", tags) == "pt-PT"
    assert nearest("en-US", tags) == "EN"
    assert nearest("fr", tags) == "fre"
    assert nearest("de", tags) is None


BAD = {
    "no XML": ("a.xlf", "not XML"),
    "cut off": ("a.tmx", TMX[:400]),
    "another root": ("a.xlf", "<html/>"),
    "another root, TMX": ("a.tmx", "<xliff/>"),
    "entities": ("a.tmx", '<!DOCTYPE tmx [<!ENTITY a SYSTEM "file:///etc/passwd">]><tmx>&a;</tmx>'),
    "other languages": ("a.xlf", '<xliff srcLang="en" trgLang="de"><file/></xliff>'),
    "nothing in it": ("a.xlf", '<xliff srcLang="fr" trgLang="en"/>'),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_one_line(kind: str, tmp_path: Path) -> None:
    name, text = BAD[kind]
    (tmp_path / name).write_text(text)
    with pytest.raises(DocumentError) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(f"--edited {tmp_path / name}: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(DocumentError, match="cannot be read"):
        read(tmp_path / f"none{name}")
    with pytest.raises(OptionError, match=r"\.xlf, \.xliff, \.tmx"):
        write_exchange(tmp_path / "a.po", job(ROWS), ".po")


def test_spans_cut_by_segments_have_ids_of_their_own(tmp_path: Path) -> None:
    pieces = [piece.strip() for piece in closed(["<1>Un. ", "Deux <2/> trois. ", "Quatre</1>"])]
    rows = [row(i, text, text, paragraph=0) for i, text in enumerate(pieces, 1)]
    text = written(tmp_path / "a.xlf", rows).read_text()
    assert re.findall(r'<pc id="([^"]*)"', text) == ["1", "1", "1.2", "1.2", "1.3", "1.3"]
    assert all(PLACEHOLDER.search(source) for _, source, _ in found(tmp_path / "a.xlf") if source)
    assert found(tmp_path / "a.xlf") == expected(rows, ".xlf")


@pytest.fixture(scope="session")
def schemas() -> Path:
    """OASIS's XLIFF schema and the TMX DTD."""
    result = subprocess.run([ROOT / "scripts" / "schemas"], check=False)
    if result.returncode == 75:
        pytest.skip("the schemas of XLIFF and TMX cannot be downloaded")
    assert result.returncode == 0
    return ROOT / ".cache" / "schemas"


def test_a_job_is_exported_while_another_process_works_on_it(tmp_path: Path) -> None:
    out = tmp_path / "novel.txt"
    with Store(folder_of(out)) as store:  # which holds the lock
        with pytest.raises(JobError, match="no segments yet"):
            export(out, tmp_path / "a.xlf")
        languages = {"source": "fr", "target": "en"}
        store.begin({"languages": languages}, [(0, "Oui."), (1, "Non.")])
        store.finish_segment(row(1, "Oui.", "Yes."))
        assert export(out, tmp_path / "a.xlf") == (1, 2)
        store.finish_segment(row(2, "Non.", "No."))
        assert export(out, tmp_path / "a.tmx") == (2, 2)
    assert [one.translation for one in read(tmp_path / "a.xlf")] == ["Yes.", None]
    assert [one.translation for one in read(tmp_path / "a.tmx")] == ["Yes.", "No."]
