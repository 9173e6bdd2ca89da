"""Edits of a person: found in the file, cut at segments, and nothing else is changed."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from templora_edge.documents import read_document
from templora_edge.documents.markup import is_kept
from templora_edge.translation.answers import Languages
from templora_edge.translation.edits.edited_document import document_edits, pieces_of
from templora_edge.translation.edits.edited_file import read_edits
from templora_edge.translation.edits.edits import edits_of
from templora_edge.translation.exchange import ExchangedSegment, State
from templora_edge.translation.run import assemble
from templora_edge.translation.segmenter import segments
from templora_edge.translation.store.segment_row import Origin, SegmentRow


def row(
    number: int,
    source: str,
    translation: str | None,
    *,
    paragraph: int | None = None,
    flags: tuple[str, ...] = (),
) -> SegmentRow:
    origin = Origin.NONE if translation is None else Origin.MODEL
    at = number if paragraph is None else paragraph
    return SegmentRow(number, number, at, source, translation, origin, flags, 1, 5, 0.1)


ROWS = [
    row(1, "Oui.", "Yes."),
    row(2, "Le <1>phare</1> dort.", "The <1>light</1> sleeps.", flags=("numbers",)),
    row(3, "Non.", None),
    row(4, "Oui.", "Yeah."),
]


@pytest.mark.parametrize(
    ("segments", "changed", "unchanged", "unknown"),
    [
        ([("s1", "Oui.", "Yes, sir."), ("s4", "Oui.", "Yeah.")], {1: "Yes, sir."}, 1, 0),
        ([("s1", "Oui.", "Yes."), ("s4", "Oui.", None)], {}, 1, 0),
        ([("s3", "Non.", " No\n\n")], {3: "No"}, 0, 0),
        ([("s3", "Non.", "Non.")], {}, 1, 0),  # a copy of the source
        ([("s1", "Non.", "No.")], {3: "No."}, 0, 0),  # the id of another job
        ([("s9", "Si.", "If."), ("s2", "Autre.", "Other.")], {}, 0, 2),
        ([(None, "Oui.", "Aye.")], {1: "Aye.", 4: "Aye."}, 0, 0),
        ([(None, "Oui.", "Yes."), (None, "Oui.", "Yeah.")], {}, 2, 0),
        (
            [("s2", "Le <9>phare</9> dort.", "It sleeps, the <9>lamp</9>.")],
            {2: "It sleeps, the <1>lamp</1>."},
            0,
            0,
        ),
        ([("s2", "Le phare  dort.", "The light rests.")], {2: "The <1>light</1> rests."}, 0, 0),
        ([("s4", "Oui.", "**Yes** <b>!"), ("s1", "Oui.", "Yes.")], {4: "**Yes** <b>!"}, 1, 0),
    ],
)
def test_segments_are_found_by_id_or_source(
    segments: list[tuple[str | None, str, str | None]],
    changed: dict[int, str],
    unchanged: int,
    unknown: int,
) -> None:
    edits = edits_of([ExchangedSegment(*one, None) for one in segments], ROWS)
    assert {one.id: one.translation for one in edits.rows} == changed
    assert (edits.unchanged, edits.unknown) == (unchanged, unknown)
    for one in edits.rows:
        assert (one.origin, one.flags) == (Origin.EDIT, ())
        assert is_kept(one.source, str(one.translation))


def test_an_approved_translation_loses_its_flags() -> None:
    texts = ROWS[1].source, ROWS[1].translation
    for state, n_changed in ((State.FINAL, 1), (State.TRANSLATED, 0), (None, 0)):
        edits = edits_of([ExchangedSegment("s2", *texts, state)], ROWS)
        assert len(edits.rows) == n_changed


@pytest.mark.parametrize(
    ("pieces", "text", "expected"),
    [
        (["He left.", "She stayed."], "He left. She stayed.", ["He left.", "She stayed."]),
        (["He left.", "She stayed."], "He went. She stayed.", ["He went.", "She stayed."]),
        (["He left.", "She stayed."], "He left. But she stayed.", ["He left.", "But she stayed."]),
        (["He left.", "She stayed."], "Off he went! Not her. She stayed.",
         ["Off he went! Not her.", "She stayed."]),
        (["He left.", "She stayed."], "She stayed.", ["", "She stayed."]),
        (["He left.", "She stayed."], "He left.", ["He left.", ""]),
        (["He left.", "She stayed."], "Nothing. Is the same!", ["Nothing.", "Is the same!"]),
        (["One.", "Two.", "Three."], "One. Deux\nThree.", ["One.", "Deux", "Three."]),
        (["<1>One.</1>", "<1>Two.</1> Three."], "<1>One. Deux.</1> Three.",
         ["<1>One.</1>", "<1>Deux.</1> Three."]),
        (["One<1/>.", "Two<2/>."], "One<1/>. Twice<2/>.", ["One<1/>.", "Twice<2/>."]),
        (["Alone."], "Not <1>alone</1>.", ["Not <1>alone</1>."]),
        (["你好。", "再见。"], "你们好。再见了。", ["你们好。", "再见了。"]),
    ],
)  # fmt: skip
def test_a_paragraph_is_cut_where_its_segments_went(
    pieces: list[str], text: str, expected: list[str]
) -> None:
    assert pieces_of(text, pieces) == expected


SENTENCES = st.lists(
    st.text("abcdefg ", min_size=1, max_size=12).map(lambda text: f"X{text.strip()}."),
    min_size=1,
    max_size=5,
)


@given(before=SENTENCES, after=SENTENCES)
def test_cutting_loses_nothing(before: list[str], after: list[str]) -> None:
    text = " ".join(after)
    pieces = pieces_of(text, before)
    assert len(pieces) == len(before)
    assert "".join(" ".join(pieces).split()) == "".join(text.split())
    assert pieces_of(" ".join(before), before) == before


PARAGRAPHS = ["Un. Deux.", "Le <1>phare</1>.", "Trois<1/> fois.\nQuatre.", "Cinq.", "Six."]
SEGMENTS = [
    row(1, "Un.", "One.", paragraph=0),
    row(2, "Deux.", "Two.", paragraph=0),
    row(3, "Le <1>phare</1>.", "The <1>light</1>.", paragraph=1),
    row(4, "Trois<1/> fois.", "Thrice<1/>.", paragraph=2),
    row(5, "Quatre.", "Four.", paragraph=2),
    row(6, "Cinq.", None, paragraph=3),
    row(7, "Six.", "Six and more.", paragraph=4),
]
BEFORE = assemble(PARAGRAPHS, SEGMENTS)


@pytest.mark.parametrize(
    ("after", "changed", "unknown"),
    [
        (BEFORE, {}, 0),
        (["One. Twice.", *BEFORE[1:]], {2: "Twice."}, 0),
        ([BEFORE[0], "A <1>lamp</1>.", *BEFORE[2:]], {3: "A <1>lamp</1>."}, 0),
        ([BEFORE[0], "The light house.", *BEFORE[2:]], {3: "The <1>light</1> house."}, 0),
        ([*BEFORE[:2], "Thrice<1/>.\nAnd four.", *BEFORE[3:]], {5: "And four."}, 0),
        ([*BEFORE[:2], "Thrice<1/>. And four.", *BEFORE[3:]], {5: "And four."}, 0),
        ([*BEFORE[:3], "Five.", BEFORE[4]], {6: "Five."}, 0),
        (["Un. Deux.", *BEFORE[1:]], {}, 0),  # written before it was translated
        (["One. Deux.", *BEFORE[1:]], {}, 0),
        (["First. Deux.", *BEFORE[1:]], {1: "First."}, 0),
        (["Added at the top of all.", *BEFORE], {}, 1),
        (["Added at the top of all.", "One. Twice.", *BEFORE[1:]], {2: "Twice."}, 1),
        ([BEFORE[0], *BEFORE[2:]], {}, 1),
        ([BEFORE[0], "Thrice<1/>.\nFour!", *BEFORE[3:]], {5: "Four!"}, 1),
        (["Two.", *BEFORE[1:]], {1: ""}, 0),
    ],
)
def test_a_corrected_document_changes_only_what_was_corrected(
    after: Sequence[str], changed: dict[int, str], unknown: int
) -> None:
    edits = document_edits(PARAGRAPHS, SEGMENTS, BEFORE, after)
    assert {one.id: one.translation for one in edits.rows} == changed
    assert edits.unknown == unknown
    assert edits.unchanged == len(SEGMENTS) - len(changed)
    rows = [next((new for new in edits.rows if new.id == one.id), one) for one in SEGMENTS]
    again = document_edits(PARAGRAPHS, rows, assemble(PARAGRAPHS, rows), after)
    assert not again.rows, "what was taken is taken once"


DOCUMENTS = {
    "text": ("a.txt", "Le chat dort bien. Il rêve aussi.\n\nLe chien court. Il aboie.\n"),
    "Markdown": ("a.md", "# Le titre\n\nLe **chat** dort. Il *rêve*.\n\n- un\n- deux [mots](x)\n"),
    "HTML": ("a.html", "<p>Le <b>chat</b> dort.<br>Il <i>rêve</i> bien.</p><p>Le chien</p>"),
    "subtitles": (
        "a.srt",
        "1\n00:00:01,000 --> 00:00:02,000\nLe chat dort bien.\n<i>Il rêve aussi.</i>\n",
    ),
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_one_word_corrected_in_a_written_document(kind: str, tmp_path: Path) -> None:
    name, text = DOCUMENTS[kind]
    (tmp_path / name).write_text(text, encoding="utf-8")
    document = read_document(tmp_path / name, "fr")
    cut = [(i, one) for i, text in enumerate(document.paragraphs)
           for one in segments(text, lambda piece: len(piece) < 30)]  # fmt: skip
    rows = [row(i, one, one.swapcase(), paragraph=at) for i, (at, one) in enumerate(cut, 1)]
    assert len(rows) > len(document.paragraphs)
    out = tmp_path / f"out-{name}"
    languages = Languages("fr", "en")

    def written(rows: Sequence[SegmentRow]) -> None:
        document.write(out, assemble(document.paragraphs, rows), language="en")

    written(rows)
    assert not read_edits(out, document, rows, languages, out.suffix).rows
    for old in ("DORT", "CHIEN", "RÊVE", "MOTS"):
        content = out.read_text(encoding="utf-8")
        if old not in content:
            continue
        out.write_text(content.replace(old, "hat nun"), encoding="utf-8")
        edits = read_edits(out, document, rows, languages, out.suffix)
        [changed] = edits.rows
        [before] = [one for one in rows if one.id == changed.id]
        assert changed.translation == str(before.translation).replace(old, "hat nun")
        corrected = out.read_text(encoding="utf-8").split()  # lines may be broken elsewhere
        written([changed if one.id == changed.id else one for one in rows])
        assert out.read_text(encoding="utf-8").split() == corrected
        written(rows)
