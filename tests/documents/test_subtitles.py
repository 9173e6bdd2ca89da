"""Subtitles of all formats: what players read is read, and only words change."""

import re
import time
from pathlib import Path

import pysubs2
import pytest
from scripted import echoed

from templora_edge.documents import read_document
from templora_edge.documents.markup import PLACEHOLDER
from templora_edge.errors import DocumentError
from templora_edge.translation.segmenter import assembled, segments

VTT = """\
WEBVTT - Un film

NOTE
A note --> of the translator

STYLE
::cue(b) { color: red }

REGION
id:fred

intro
00:01.000 --> 00:02.000 align:start position:10%
<v Jean>L'eau &amp; le vent</v>

00:00:02.000 --> 00:00:03.000
- Qui est <i>là</i> ?
- Personne
ne vient.

00:03.000 --> 00:05.000
<v.loud Anne>Un<00:03.500><c> deux</c><00:04.000><c> trois</c>
<v Luc>Quatre.
"""
ASS = r"""[Script Info]
Title: Un film

[V4+ Styles]
Format: Name, Fontname
Style: Default,Arial

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:00.00,0:00:01.00,Default,,0,0,0,,Une remarque
Dialogue: 0,0:00:01.00,0:00:02.00,Default,Jean,0,0,0,,{\an8}L'eau, le vent\Net la {\i1}mer{\i0}.
Dialogue: 0,0:00:02.00,0:00:03.00,Default,,0,0,0,,{\p1}m 0 0 l 100 0 100 100{\p0}
Dialogue: 0,0:00:03.00,0:00:04.00,Default,,0,0,0,,{\k20}Un {remarque}{\k30}deux\htrois
"""


def louder(text: str) -> str:
    return "".join(
        part if PLACEHOLDER.fullmatch(part) else part.upper()
        for part in re.split("(</?[1-9][0-9]*/?>)", text)
    )


def check(path: Path, source: str, paragraphs: list[str], expected: str) -> None:
    path.write_text(source)
    document = read_document(path)
    assert document.paragraphs == paragraphs
    out = path.with_stem("out")
    document.write(out, echoed(document.paragraphs), language="en")
    assert out.read_text() == source
    document.write(out, [louder(text) for text in document.paragraphs], language="en")
    assert out.read_text() == expected


@pytest.mark.parametrize(
    "timing",
    [
        "00:04:40 --> 00:04:41",
        "04:40,500 --> 04:41,200",
        "0:4:40.5 --> 0:4:41.25",
        "00:04:40,500-->00:04:41,200",
        "00:04:40,500 -> 00:04:41,200",
        "00:04:40, 500 -- > 00:04:41, 200",
        "00:04:40:500 --> 00:04:41:200",
        "00:04:40,500 --> 00:04:41,200 X1:100 X2:600 Y1:050 Y2:100",
        " 00:04:40,500 --> 00:04:41,200",
    ],
)
def test_srt_no_milliseconds_and_other_odd_timings(tmp_path: Path, timing: str) -> None:
    source = (
        f"1\n{timing}\nBonsoir, capitaine.\n2\n{timing}\nMon\n\ncher ami.\n\n{timing}\n♪ La mer ♪\n"
    )
    expected = source.replace("Bonsoir, c", "BONSOIR, C").replace("apitaine", "APITAINE")
    expected = expected.replace("Mon", "MON").replace("cher ami", "CHER AMI")
    check(
        tmp_path / "film.srt",
        source,
        ["Bonsoir, capitaine.", "Mon", "cher ami.", "La mer"],
        expected.replace("La mer", "LA MER"),
    )


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_srt_utf16_and_srt_cp1252(tmp_path: Path, encoding: str) -> None:
    source = "1\r\n00:00:01,000 --> 00:00:02,000\r\nL'été est fini.\r\n"
    path, out = tmp_path / "film.srt", tmp_path / "out.srt"
    path.write_bytes(source.encode(encoding))
    document = read_document(path, "fr")
    document.write(out, document.paragraphs, language="en")
    assert out.read_bytes() == source.encode()


def test_webvtt(tmp_path: Path) -> None:
    expected = VTT.replace("L'eau &amp; le vent", "L'EAU &amp; LE VENT").replace(
        "Qui est", "QUI EST"
    )
    expected = expected.replace(">là<", ">LÀ<").replace("Personne\nne", "PERSONNE\nNE")
    expected = expected.replace("vient", "VIENT").replace("Quatre", "QUATRE")
    expected = expected.replace(
        "Un<00:03.500><c> deux</c><00:04.000><c> trois</c>",
        "UN<c> <00:03.500>DEUX <00:04.000>TROIS</c>",
    )
    check(
        tmp_path / "film.vtt",
        VTT,
        [
            "L'eau & le vent",
            "Qui est <1>là</1> ?",
            "Personne ne vient.",
            "Un<1> deux trois</1>",
            "Quatre.",
        ],
        expected,
    )


@pytest.mark.parametrize("suffix", [".ass", ".ssa"])
def test_substation_alpha(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"film{suffix}"
    expected = ASS.replace(r"L'eau, le vent\Net la {\i1}mer", r"L'EAU, LE VENT\NET LA {\i1}MER")
    expected = expected.replace(
        r"{\k20}Un {remarque}{\k30}deux\htrois", r"{remarque}{\k20}UN {\k30}DEUX\hTROIS"
    )
    check(
        path,
        ASS,
        ["L'eau, le vent et la <1/>mer<2/>.", "Un deux\u00a0trois"],
        expected,
    )
    assert read_document(path).skipped == {"comments": 1, "drawings": 1}
    before, after = (pysubs2.load(str(each)) for each in (path, path.with_stem("out")))
    for old, new in zip(before, after, strict=True):
        assert (old.start, old.end, old.style, old.type) == (
            new.start,
            new.end,
            new.style,
            new.type,
        )


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.vtt", "00:01.000 --> 00:02.000\nUn\n", "not WebVTT"),
        ("a.vtt", "WEBVTT\n\nNOTE Un\n", "no words"),
        ("a.ass", "[Script Info]\nTitle: Un\n", "not SubStation Alpha"),
        (
            "a.ass",
            ASS.split("Dialogue", maxsplit=1)[0] + "Dialogue: 0,0,0,D,,0,0,0,,...",
            "no words",
        ),
    ],
)
def test_bad_files_are_refused_in_one_line(
    tmp_path: Path, name: str, data: str, words: str
) -> None:
    path = tmp_path / name
    path.write_text(data)
    with pytest.raises(DocumentError, match=words) as caught:
        read_document(path)
    assert "\n" not in str(caught.value)


def timed_cue(suffix: str, text: str) -> str:
    if suffix == ".ass":
        return f"Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{text}\n"
    return f"00:00:01.000 --> 00:00:02.000\n{text}\n\n"


@pytest.mark.parametrize("suffix", [".srt", ".vtt", ".ass"])
@pytest.mark.parametrize(
    "line", ["<i>mot ", "<i>mot</i> ", "<i>mot</i> et ", "<i>", "{\\k20}mot ", "<i>mot</b> "]
)
def test_many_cues_and_long_lines_take_seconds(tmp_path: Path, suffix: str, line: str) -> None:
    """Quadratic time would be minutes."""
    path, out = (tmp_path / f"{name}{suffix}" for name in ("long", "out"))
    head = {".srt": "", ".vtt": "WEBVTT\n\n", ".ass": "[Events]\n"}[suffix]
    texts = [*["Un <i>mot</i>."] * 2_000, (line * 20_000).strip()]
    path.write_text(head + "".join(timed_cue(suffix, text) for text in texts))
    begin = time.monotonic()
    document = read_document(path)
    pieces = [segments(text, lambda piece: len(piece) < 400) for text in document.paragraphs]
    same = [
        assembled(text, [(piece, piece) for piece in own])
        for text, own in zip(document.paragraphs, pieces, strict=True)
    ]
    document.write(out, same, language="en")
    assert out.read_bytes() == path.read_bytes()
    document.write(out, [louder(text) for text in same], language="en")
    assert len(read_document(out).paragraphs) == len(same)
    assert time.monotonic() - begin < 60
