"""EPUB in and out: what is read, what is written, and what is rejected."""

import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import pytest
from epub_files import (
    NASTY,
    TYPE,
    XHTML,
    chapter,
    encryption,
    members,
    pack,
    package,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from scripted import echoed

from templora_edge.documents.archive import SMALL
from templora_edge.documents.epub import EpubDocument
from templora_edge.documents.epub.document import MAX_TEXT
from templora_edge.documents.markup import PLACEHOLDER, is_kept, without_spans
from templora_edge.errors import DocumentError

TITLE = "Le livre"
PARAGRAPHS = [
    "Premier chapitre", "Premier <1>chapitre</1>",
    "Un mot<1/>, <2>nota bene</2>, et <3>deux</3>.\nFin\xa0: <4/> <5/>.",
    "Hors bloc <1>gras</1>", "dedans encore", "après", "point un", "point deux", "sous-point",
    "suite", "dessin", "La somme <1/> vaut <2/> trois.", "i", "Légende", "Tête",
    "Case <1>une</1>", "terme",
    "définition", "Texte tel\nquel", "<1>漢</1>と<2>字</2>", "Tout en italique",
    "Une image", "Une note.",
]  # fmt: skip
LABELS = [
    "Table",
    "Table",
    "Premier <1>chapitre</1>",
    "Une note",
    "Le livre",
    "Premier chapitre",
    "Pages",
]


def opened(tmp_path: Path, body: str) -> EpubDocument:
    """A book of one chapter, without paragraphs elsewhere."""
    files = members(c1=body if "<html" in body or "<h:html" in body else chapter(body))
    files["OEBPS/nav.xhtml"] = chapter("<nav/>")
    del files["OEBPS/toc.ncx"]
    files["OEBPS/book.opf"] = str(files["OEBPS/book.opf"]).replace("Le livre", "1")
    return EpubDocument(pack(tmp_path / "in.epub", files))


def written(document: EpubDocument, path: Path, texts: list[str], **how: bool) -> dict[str, bytes]:
    document.write(path, texts, language="en", **how)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def body_of(files: Mapping[str, bytes], name: str = "OEBPS/c1.xhtml") -> str:
    found = re.search("<body[^>]*>(.*)</body>", files[name].decode(), re.DOTALL)
    assert found
    return found.group(1)


def translated(tmp_path: Path, body: str, *texts: str, bilingual: bool = False) -> str:
    document = opened(tmp_path, body)
    files = written(document, tmp_path / "out.epub", list(texts), bilingual=bilingual)
    return body_of(files)


def swapcase(text: str) -> str:
    """A translation that keeps all placeholders."""
    return "".join(
        part if PLACEHOLDER.fullmatch(part) else part.swapcase()
        for part in re.split(r"(</?[1-9]\d*/?>)", text)
    )


def canonical(text: str | bytes) -> bytes:
    """The content of an XML file, except the language of its root."""
    data = text if isinstance(text, bytes) else text.encode()
    root = etree.fromstring(data, etree.XMLParser(resolve_entities=False))
    for tag in ("lang", "{http://www.w3.org/XML/1998/namespace}lang"):
        root.attrib.pop(tag, "")
    return etree.tostring(root.getroottree(), method="c14n", with_comments=True)


def test_paragraphs_of_a_book(tmp_path: Path) -> None:
    document = EpubDocument(pack(tmp_path / "a.epub", members(c1=NASTY)))
    assert document.paragraphs == [TITLE, *PARAGRAPHS, *LABELS]


def test_identity_gives_the_book_back(tmp_path: Path) -> None:
    files = members(c1=NASTY, c2=chapter("<p>Deux</p>"), cover=chapter('<img src="i.png"/>'))
    source = pack(tmp_path / "a.epub", files)
    document = EpubDocument(source)
    out = written(document, tmp_path / "b.epub", list(document.paragraphs))
    assert list(out) == list(files)
    rewritten = {"OEBPS/book.opf", "OEBPS/c1.xhtml", "OEBPS/c2.xhtml"}
    rewritten |= {"OEBPS/cover.xhtml", "OEBPS/nav.xhtml", "OEBPS/toc.ncx"}
    for name, data in files.items():
        original = data if isinstance(data, bytes) else data.encode()
        if name not in rewritten:
            assert out[name] == original
        elif name == "OEBPS/book.opf":
            expected = original.replace(b">fr</dc:language>", b">en</dc:language>")
            assert canonical(out[name]) == canonical(expected)
        else:
            assert out[name] != original
            assert canonical(out[name]) == canonical(original)
    assert out["OEBPS/c1.xhtml"].startswith(NASTY[: NASTY.index("<html xmlns")].encode())
    assert out["OEBPS/c1.xhtml"].endswith(b"</html><!-- after -->\n")
    assert b"<![CDATA[ p > b" in out["OEBPS/c1.xhtml"]
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(tmp_path / "b.epub") as after:
        assert after.infolist()[0].filename == "mimetype"
        for one, other in zip(before.infolist(), after.infolist(), strict=True):
            assert other.compress_type == one.compress_type
            assert other.date_time == one.date_time
            assert not other.extra


def test_files_without_a_change_are_the_same_bytes(tmp_path: Path) -> None:
    crooked = "<html  lang = 'en'><body ><p >Un &nbsp; deux<br  /></p><p>Trois</p></body ></html >"
    document = opened(tmp_path, crooked)
    assert document.paragraphs == ["Un \xa0 deux", "Trois"]
    assert written(document, tmp_path / "b.epub", list(document.paragraphs))["OEBPS/c1.xhtml"] == (
        crooked.encode()
    )
    out = written(document, tmp_path / "b.epub", ["Un \xa0 deux", "Three"])["OEBPS/c1.xhtml"]
    assert out.decode() == (
        '<html lang="en"><body><p>Un \xa0 deux<br/></p><p>Three</p></body></html>'
    )


def test_the_mimetype_moves_to_its_place(tmp_path: Path) -> None:
    files = members(c1=chapter("<p>Un</p>"))
    with zipfile.ZipFile(tmp_path / "a.epub", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in [*list(files)[1:], "mimetype"]:
            archive.writestr(name, files[name])
    document = EpubDocument(tmp_path / "a.epub")
    assert list(written(document, tmp_path / "b.epub", list(document.paragraphs))) == list(files)
    head = (tmp_path / "b.epub").read_bytes()[30:58]  # where magic numbers are looked for
    assert head == b"mimetype" + TYPE.encode()


def test_write_again_and_without_the_source(tmp_path: Path) -> None:
    source = pack(tmp_path / "a.epub", members(c1=NASTY))
    document = EpubDocument(source)
    texts = [swapcase(text) for text in document.paragraphs]
    first = written(document, tmp_path / "b.epub", texts)
    source.write_bytes(b"another")
    source.unlink()
    assert written(document, tmp_path / "b.epub", texts) == first
    kept = [text.replace("NOTA BENE", "nota bene") for text in texts]  # which is Latin
    assert EpubDocument(tmp_path / "b.epub").paragraphs == kept


def test_languages(tmp_path: Path) -> None:
    body = (
        f'<html xmlns="{XHTML}" xml:lang="fr-FR"><body lang="fr"><p lang="la">a</p></body></html>'
    )
    files = members(c1=body, c2=f'<html xmlns="{XHTML}"><body><p>b</p></body></html>')
    document = EpubDocument(pack(tmp_path / "a.epub", files))
    out = written(document, tmp_path / "b.epub", list(document.paragraphs))
    assert out["OEBPS/c1.xhtml"].decode() == body.replace("fr-FR", "en").replace('"fr"', '"en"')
    assert out["OEBPS/c2.xhtml"] == bytes(str(files["OEBPS/c2.xhtml"]), "ascii")
    assert b'xml:lang="en"' in out["OEBPS/toc.ncx"]
    languages = re.findall("<dc:language>(.*?)<", out["OEBPS/book.opf"].decode())
    assert languages == ["en", "la"]


def test_each_file_once_in_the_order_of_the_spine(tmp_path: Path) -> None:
    texts = {name: chapter(f"<p>file {name}</p>") for name in ("c1", "c2", "popup")}
    files = members(**texts)
    opf = str(files["OEBPS/book.opf"])
    spine = (
        '<itemref idref="c2"/><itemref idref="nav" linear="no"/><itemref idref="gone"/>'
        '<itemref idref="c1" linear="no"/><itemref idref="c2"/>'
    )
    opf = opf.replace("application/x-dtbncx+xml", "text/xml")  # the spine names it all the same
    files["OEBPS/book.opf"] = re.sub("(?<=<spine toc=.ncx.>).*(?=</spine>)", spine, opf)
    found = EpubDocument(pack(tmp_path / "a.epub", files)).paragraphs
    assert found == [TITLE, "file c2", *LABELS[:4], "file c1", "file popup", *LABELS[4:]]


def test_names_of_files_are_urls(tmp_path: Path) -> None:
    files = members(**{"premier é": chapter("<p>Accent</p>")})
    document = EpubDocument(pack(tmp_path / "a.epub", files))
    assert document.paragraphs[1] == "Accent"
    assert list(written(document, tmp_path / "b.epub", list(document.paragraphs))) == list(files)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<p>a <b>b <i>c</i></b></p>", ["a <1>b <2>c</2></1>"]),
        ("<p><b><i>ab</i></b></p>", ["ab"]),  # the document's own affair
        ("<p> <b> <a id='x'/>ab <br/></b>&#x3000;</p>", ["ab"]),
        ("<p><i>a</i><i>b</i></p>", ["ab"]),
        ("<p>x<i><b>a</b></i><i><b>b</b></i></p>", ["x<1><2>ab</2></1>"]),
        ("<p>x<i>a</i> <i>b</i><i class='c'>c</i></p>", ["x<1>a b</1><2>c</2>"]),
        ("<p>a<br/><img src='i.png'/>b</p>", ["a\nb"]),
        ("<p>a<!-- c --><?pi x?>b</p>", ["ab"]),
        ("<p>a<span> <img src='i.png'/></span>b</p>", ["a<1/>b"]),
        ("<p>a<a href='#n'>[3]</a> b<sup>e</sup></p>", ["a<1/> b<2>e</2>"]),
        ("<p>en <i>1984</i> non</p>", ["en <1>1984</1> non"]),
        ("<p><code>ls</code> va <code>x</code><br/></p>", ["<1/> va <2/>"]),
        ("<p>a <span translate='no'>b</span>c</p>", ["a <1/>c"]),
        ("<p>co\xadu\xadpé \n\t là</p>", ["coupé là"]),
        ("<p>&lt;1&gt;a&lt;/1&gt; &lt;b&gt;</p>", ["<1/>a<2/> <b>"]),
        ("<p>12</p><p>* * *</p><p/><td>…</td>", []),
        ("<a href='x'><p>a</p> b</a> c", ["a", "b", "c"]),
        ("<div translate='no'><p>a</p></div><pre class='code'>b</pre><p>c</p>", ["c"]),
        ("<p>a<span role='doc-pagebreak'>xii</span>b</p>", ["ab"]),
        ("<div epub:type='pagebreak'>xii</div><p role='doc-pagebreak'>v</p>", []),
        ("a<br/>b<br/>\n<br/> c <br/>d<i>e<br/><br/>f</i>", ["a\nb", "c\nd<1>e</1>\nf"]),
        ("<p>a<object><p>b</p></object>c</p>", ["a<1/>c"]),
        ("<p><ruby>漢字<rt>かんじ</rt></ruby></p>", ["漢字"]),
        ("<p>x<ruby>漢<rt>かん</rt></ruby><ruby>字<rt>じ</rt></ruby></p>", ["x<1>漢字</1>"]),
        ("<p>x<ruby><img src='i.png'/><rt>かん</rt></ruby>y</p>", ["x<1/>y"]),
        ("<p>x<ruby>漢<img src='i.png'/><rt>かん</rt></ruby>y</p>", ["x<1/>y"]),
        ("<details><summary>a</summary>b</details>", ["a", "b"]),
        ("<p xmlns=''>a</p><x:p xmlns:x='http://www.w3.org/1999/xhtml'>b</x:p>", ["a", "b"]),
    ],
)
def test_paragraphs(body: str, expected: list[str], tmp_path: Path) -> None:
    assert opened(tmp_path, body + "<p>end</p>").paragraphs == [*expected, "end"]


@pytest.mark.parametrize(
    ("body", "translation", "expected"),
    [
        ("<p>a <b>b</b><i>c</i></p>", "C <2>d</2> <1>e</1>", "<p>C <i>d</i> <b>e</b></p>"),
        ("<p>a <b>b <i>c</i></b></p>", "<2>C <1>D</1></2>", "<p><i>C <b>D</b></i></p>"),
        ("<p> <b> a<br/>b </b>\n</p>", "C\nD", "<p> <b> C<br/>D </b>\n</p>"),
        ("<p><a id='x'/>a<img/></p>", "B & <C>", '<p><a id="x"></a>B &amp; &lt;C&gt;<img/></p>'),
        ("<p>x<i>a</i><i>b</i></p>", "Y<1>c</1>", "<p>Y<i>c</i></p>"),
        ("<p>&lt;1&gt;a</p>", "B<1/>", "<p>B&lt;1&gt;</p>"),
        ("<p>a\n   b</p>", "C", "<p>C</p>"),
        ("<p>a</p>", "b\x00\x0b\ufffec", "<p>bc</p>"),
        # a target of links stays where its element is gone
        ("<p>a <a id='x' href='#y'>b</a></p>", "C", '<p><span id="x"></span>C</p>'),
        ("<p>a <a name='x'>b</a><br/></p>", "C", '<p><span id="x"></span>C<br/></p>'),
        ("<p>x<ruby>漢<rt>か</rt></ruby></p>", "Y<1>漢</1>", "<p>Y<ruby>漢<rt>か</rt></ruby></p>"),
        ("<p>x<ruby>漢<rt>か</rt></ruby></p>", "Y<1>kanji</1>", "<p>Ykanji</p>"),
        ("<p><ruby id='r'>漢<rt>か</rt></ruby></p>", "K", '<p><span id="r"></span>K</p>'),
        ("<div>a<p/>b</div>", "C", "<div>C<p></p>D</div>"),
    ],
)
def test_translations(body: str, translation: str, expected: str, tmp_path: Path) -> None:
    texts = [translation, "D"][: len(opened(tmp_path, body).paragraphs)]
    assert translated(tmp_path, body, *texts) == expected


@pytest.mark.parametrize(
    ("body", "translation", "expected"),
    [
        ("<p>a</p>", "B", "<p>a<br/>B</p>"),
        ("<li><a href='#x'>a</a></li>", "B", '<li><a href="#x">a<br/>B</a></li>'),
        (
            "<p>a <b id='i'>b</b><a id='x'/><a href='#n' id='r'>1</a><img src='i.png' id='m'/> c "
            "<i/>.</p>",
            "D<2/> <1>e</1> F.",
            '<p>a <b id="i">b</b><a id="x"></a><a href="#n" id="r">1</a><img src="i.png" id="m"/> '
            'c <i></i>.<br/>D<a href="#n">1</a><img src="i.png"/> <b>e</b> F.</p>',
        ),
        (
            "<p>x<ruby>漢<rt>か</rt></ruby></p>",
            "Y<1>kanji</1>",
            "<p>x<ruby>漢<rt>か</rt></ruby><br/>Ykanji</p>",
        ),
        ("<p>a <b id='x'>b</b> </p>", "C", '<p>a <b id="x">b</b><br/>C </p>'),
    ],
)
def test_bilingual(body: str, translation: str, expected: str, tmp_path: Path) -> None:
    translation = translation.replace("F.", "F <3/>.") if "<3/>" in body else translation
    assert translated(tmp_path, body, translation, bilingual=True) == expected


def test_another_prefix(tmp_path: Path) -> None:
    html = f'<h:html xmlns:h="{XHTML}"><h:body><h:p>a <h:b id="x">b</h:b></h:p></h:body></h:html>'
    document = opened(tmp_path, html)
    assert document.paragraphs == ["a <1>b</1>"]
    out = written(document, tmp_path / "b.epub", ["C"])["OEBPS/c1.xhtml"].decode()
    assert out == html.replace('a <h:b id="x">b</h:b>', '<h:span id="x"></h:span>C')


def test_bilingual_tables_of_contents(tmp_path: Path) -> None:
    document = EpubDocument(pack(tmp_path / "a.epub", members(c1=NASTY)))
    texts = [swapcase(text) for text in document.paragraphs]
    out = written(document, tmp_path / "b.epub", texts, bilingual=True)
    assert "<text>Le livre / lE LIVRE</text>" in out["OEBPS/toc.ncx"].decode()
    link = '<a href="c1.xhtml">Premier <i>chapitre</i><br/>pREMIER <i>CHAPITRE</i></a>'
    assert link in out["OEBPS/nav.xhtml"].decode()
    identifiers = re.findall(r'\bid="(.*?)"', out["OEBPS/c1.xhtml"].decode())
    assert sorted(identifiers) == sorted(re.findall(r'\bid="(.*?)"', NASTY))


# classes are all different, so that no two neighbours look the same
words = st.text("ab é&<>漢\"'", max_size=6)
pieces = st.recursive(
    words.map(lambda text: text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    | st.sampled_from(['<img src="i.png"/>', "<code>a</code>"]),
    lambda inner: st.tuples(
        st.sampled_from(["b", "i", "a", "span", "p", "div", "sup"]), st.lists(inner, max_size=4)
    ).map(lambda made: f'<{made[0]} class="N">{"".join(made[1])}</{made[0]}>'),
    max_leaves=12,
)


TAGS = (
    "<p>", "</p>", "<b>", "</b>", "<a id=x/>", "</a>", "<br>", "</br>", "<div/>", "</div>",
    "<table>", "</table>", "<td>", "<ul>", "<li>", "</li>", "<svg>", "</svg>", "<ruby>",
    "<html>", "</html>", "<body>", "</body>", "&", "<", "<!-- -- -->", "</q>", "<q a=''b>",
)  # fmt: skip


def numbered(text: str) -> str:
    counter = iter(range(10**6))
    return re.sub(r'"N"', lambda _: f'"n{next(counter)}"', text)


@settings(max_examples=150, deadline=None)
@given(st.lists(pieces, max_size=5))
def test_all_text_is_translated_and_nothing_else_changes(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    tmp_path = tmp_path_factory.mktemp("book")
    source = numbered(chapter("".join(parts).replace("  ", " ") + "<p>fin</p>"))
    document = opened(tmp_path, source)
    for text in document.paragraphs:
        assert text == text.strip()
        assert is_kept(text, swapcase(text))
    out = written(document, tmp_path / "b.epub", [swapcase(text) for text in document.paragraphs])
    root = etree.fromstring(source)
    for element in root.iter():
        element.tail = (element.tail or "").swapcase()
        if isinstance(element.tag, str) and element.tag != f"{{{XHTML}}}code":
            element.text = (element.text or "").swapcase()
    title = root.find("{*}head/{*}title")
    assert title is not None
    title.text = "1"
    found = etree.fromstring(out["OEBPS/c1.xhtml"])
    assert shown(found) == shown(root)


def shown(root: etree._Element) -> bytes:
    """``root`` without its invisible elements, whose place is relative, and without spaces."""
    for element in reversed(list(root.iter("*"))):
        parent = element.getparent()
        if parent is None or len(element) or (element.text or "").strip() or "img" in element.tag:
            continue
        element.tail = (element.text or "") + (element.tail or "")
        before = element.getprevious()
        if before is None:
            parent.text = (parent.text or "") + element.tail
        else:
            before.tail = (before.tail or "") + element.tail
        element.tail = None
        parent.remove(element)
    return re.sub(rb"[ ]+", b"", canonical(etree.tostring(root)))


@settings(max_examples=100, deadline=None)
@given(st.lists(pieces, max_size=5))
def test_without_spans_singles_and_targets_stay(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    tmp_path = tmp_path_factory.mktemp("book")
    source = numbered(chapter("".join(parts) + "<p>fin</p>")).replace("class=", "id=")
    document = opened(tmp_path, source)
    texts = [without_spans(text, text) for text in document.paragraphs]
    out = written(document, tmp_path / "b.epub", texts)["OEBPS/c1.xhtml"].decode()
    assert sorted(re.findall('id="(.*?)"', out)) == sorted(re.findall('id="(.*?)"', source))
    for single in ("<br/>", "<img", "<!--c-->", "<code>"):
        assert out.count(single) == source.count(single)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<p>a&nbsp;b &mdash; &eacute;&hellip; &LT;b&GT;</p>", ["a\xa0b — é… <b>"]),
        ("<p>R & D &unknown; a < b <3 &amp; &#233;</p>", ["R & D &unknown; a < b <3 & é"]),
        (
            "<p>Moi <moi@example.org>, <http://x.org/></p>",
            ["Moi <moi@example.org>, <http://x.org/>"],
        ),
        ("<p>a<b>b<i>c</b>d</i></p><p>e</p>", ["a<1>b<2>c</2></1>d", "e"]),
        ("<p>a</div></div></div></p><p>b</p>", ["a", "b"]),
        ("<p>a<br>b</p><p>c<img src='i.png'>d", ["a\nb", "c<1/>d"]),
        ("<ul><li>a<li>b</ul><p>c<p>d", ["a", "b", "c", "d"]),
        ("<p class=x hidden>a</p><p a='1' a='2'>b</p>", ["a", "b"]),
        ("<p epub:type='x'>a</p><p class='x''>b</p>", ["a", "b"]),
        ("<p>a\x0bb\x01</p>", ["ab"]),
        ("<p>a ]]> b</p><!-- a -- b ---><p>c</p>", ["a ]]> b", "c"]),
        ("<script src='x'/><p>a <a id='x'/>b<br></p><p>c</p>", ["a b", "c"]),
        ("<p>a <![CDATA[b < c]]><br></p>", ["a b < c"]),
        ("<p>a</p></body></html><p>b</p>", ["a", "b"]),
        ("<p>a<br>" * 300, ["a"] * 300),
    ],
)
def test_broken_markup_loses_nothing(body: str, expected: list[str], tmp_path: Path) -> None:
    document = opened(tmp_path, body)
    assert document.paragraphs == expected
    document.write(tmp_path / "b.epub", [swapcase(text) for text in expected], language="en")
    with zipfile.ZipFile(tmp_path / "b.epub") as archive:
        etree.fromstring(archive.read("OEBPS/c1.xhtml"), etree.XMLParser(recover="epub:" in body))
    assert EpubDocument(tmp_path / "b.epub").paragraphs == [swapcase(text) for text in expected]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(TAGS), max_size=12), st.randoms(use_true_random=False))
def test_no_word_is_lost_however_broken(
    tmp_path_factory: pytest.TempPathFactory, tags: list[str], random: Random
) -> None:
    tmp_path = tmp_path_factory.mktemp("book")
    tokens = [*tags, *(f" word{n}. " for n in range(6))]
    random.shuffle(tokens)
    document = EpubDocument(pack(tmp_path / "a.epub", members(c1=chapter("".join(tokens)))))
    out = written(document, tmp_path / "b.epub", [swapcase(text) for text in document.paragraphs])
    found = re.findall(r"word\d", out["OEBPS/c1.xhtml"].decode().lower())
    assert sorted(found) == [f"word{n}" for n in range(6)]


def test_broken_markup_keeps_svg_and_scripts(tmp_path: Path) -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><linearGradient id="g"/></svg>'
    script = "<script><![CDATA[ a < b && c ]]></script>"
    out = translated(tmp_path, f"{svg}{script}<p>a<br>", "b")
    assert 'viewBox="0 0 9 9"' in out
    assert "<linearGradient " in out
    assert "<script> a &lt; b &amp;&amp; c </script><p>b<br/></p>" in out


@pytest.mark.parametrize(
    ("encoding", "declared", "word"),
    [
        ("utf-8", "", "où 漢"),
        ("utf-8-sig", "utf-8", "où 漢"),
        ("utf-16", "utf-16", "où 漢"),
        ("iso-8859-1", "ISO-8859-1", "où"),
        ("windows-1252", "windows-1252", "où “œ”"),
        ("utf-8", "utf-16", "où"),  # .NET's string writers
    ],
)
def test_encodings(encoding: str, declared: str, word: str, tmp_path: Path) -> None:
    head = f'<?xml version="1.0" encoding="{declared}"?>\r\n' if declared else "\r\n"
    text = f'{head}<html lang="fr"><body><p>{word}</p>\r\n</body></html>\r\n'
    files = members(c1=text.encode(encoding))
    document = EpubDocument(pack(tmp_path / "in.epub", files))
    assert document.paragraphs[1] == word
    texts = [TITLE, word + " Ω", *document.paragraphs[2:]]
    out = written(document, tmp_path / "b.epub", texts)["OEBPS/c1.xhtml"]
    omega = "Ω" if encoding.startswith("utf") else "&#937;"
    expected = text.replace(word, f"{word} {omega}").replace('"fr"', '"en"')
    assert out == expected.encode(encoding)


def test_bytes_that_are_not_utf_8(tmp_path: Path) -> None:
    files = members(c1=chapter("<p>déjà</p><p>d@j@ \x93a\x94</p>").encode())
    data = files["OEBPS/c1.xhtml"]
    assert isinstance(data, bytes)
    data = data.replace(b"d@j@", b"d\xe9j\xe0").replace("\x93".encode(), b"\x93")
    files["OEBPS/c1.xhtml"] = data.replace("\x94".encode(), b"\x94")
    document = EpubDocument(pack(tmp_path / "a.epub", files))
    assert document.paragraphs[1:3] == ["déjà", "déjà “a”"]


def test_a_dtd_is_not_loaded(tmp_path: Path) -> None:
    dtd = tmp_path / "x.dtd"
    dtd.write_text('<!ENTITY secret "out">')
    files = members(c1=f'<!DOCTYPE html SYSTEM "{dtd}">' + chapter("<p>a &secret;</p>"))
    document = EpubDocument(pack(tmp_path / "a.epub", files))
    assert document.paragraphs[1] == "a &secret;"


def test_obfuscated_fonts_are_no_drm(tmp_path: Path) -> None:
    files = members(c1=chapter("<p>a</p>"))
    files["META-INF/encryption.xml"] = encryption(
        "http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"
    )
    assert EpubDocument(pack(tmp_path / "a.epub", files)).paragraphs[1] == "a"


AES = "http://www.w3.org/2001/04/xmlenc#aes256-cbc"
BOMB = '<!DOCTYPE html [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>' + chapter("<p>&b;</p>")
LEAK = '<!DOCTYPE html [<!ENTITY a SYSTEM "file:///etc/hostname">]>' + chapter("<p>&a;</p>")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"META-INF/container.xml": None}, ["container.xml", "expected an EPUB"]),
        ({"mimetype": "application/zip"}, ["mimetype", "'application/zip'", TYPE]),
        ({"META-INF/encryption.xml": encryption(AES)}, ["DRM", AES]),
        ({"META-INF/rights.xml": "<rights/>"}, ["DRM", "Adobe"]),
        ({"META-INF/sinf.xml": "<sinf/>"}, ["DRM", "Apple"]),
        ({"META-INF/license.lcpl": "{}"}, ["DRM", "LCP"]),
        ({"../up": "x"}, ["'../up'", "out of the archive"]),
        ({"a/../../up": "x"}, ["out of the archive"]),
        ({"..\\up": "x"}, ["out of the archive"]),
        ({"/etc/x": "x"}, ["out of the archive"]),
        ({"C:\\x": "x"}, ["out of the archive"]),
        ({"OEBPS/c1.xhtml": BOMB}, ["OEBPS/c1.xhtml", "entities"]),
        ({"OEBPS/c1.xhtml": LEAK.encode("utf-16")}, ["OEBPS/c1.xhtml", "entities"]),
        ({"META-INF/container.xml": BOMB}, ["container.xml", "entities"]),
        ({"OEBPS/toc.ncx": BOMB}, ["toc.ncx", "entities"]),
        ({"OEBPS/book.opf": None}, ["no package file (OPF)"]),
        ({"OEBPS/book.opf": "<package/>"}, ["no spine"]),
        ({"OEBPS/book.opf": "<package><spine"}, ["OEBPS/book.opf", "XML"]),
        ({"OEBPS/toc.ncx": "<ncx><text>a</ncx>"}, ["toc.ncx", "XML"]),
        ({"META-INF/container.xml": ""}, ["container.xml", "empty"]),
        ({"OEBPS/c1.xhtml": "<?xml version='1.0' encoding='klingon'?><html/>"}, ["klingon"]),
        ({"OEBPS/c1.xhtml": chapter("<b>" * 300 + "a" + "</b>" * 300)}, ["nested", "256"]),
        ({"OEBPS/c1.xhtml": chapter("<b>" * 300 + "a")}, ["nested", "256"]),
        (
            {"OEBPS/c1.xhtml": "", "OEBPS/nav.xhtml": chapter("12"), "OEBPS/toc.ncx": None},
            ["nothing to translate"],
        ),
    ],
)
def test_refused(
    changes: Mapping[str, str | bytes | None], words: list[str], tmp_path: Path
) -> None:
    files = {**members(c1=chapter("<p>a</p>")), **changes}
    check_refused(
        pack(tmp_path / "a.epub", {k: v for k, v in files.items() if v is not None}), *words
    )


def check_refused(path: Path, *words: str) -> None:
    with pytest.raises(DocumentError) as error:
        EpubDocument(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for word in words:
        assert word in message


def good(path: Path) -> bytearray:
    return bytearray(pack(path, members(c1=chapter("<p>a</p>" * 50))).read_bytes())


def cut(data: bytearray) -> None:
    del data[len(data) // 2 :]


def flip(data: bytearray) -> None:
    data[data.index(b"OEBPS/c1.xhtml") + 30] ^= 0x55


def lie(data: bytearray) -> None:
    """Declare fewer bytes than there are."""
    entry = data.rindex(b"OEBPS/c1.xhtml") - 46
    data[entry + 24 : entry + 28] = (9).to_bytes(4, "little")


def lock(data: bytearray) -> None:
    data[data.rindex(b"OEBPS/c1.xhtml") - 46 + 8] |= 1


def rename(data: bytearray) -> None:
    data[:] = data.replace(b"OEBPS/i.png", b"OEBPS/\xe9.png")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (bytearray.clear, ["an empty file", "expected an EPUB"]),
        (cut, ["not a zip archive"]),
        (flip, ["damaged"]),
        (lie, ["damaged"]),
        (lock, ["password"]),
        (rename, ["UTF-8"]),
    ],
)
def test_damaged(damage: Callable[[bytearray], None], words: list[str], tmp_path: Path) -> None:
    data = good(tmp_path / "a.epub")
    damage(data)
    (tmp_path / "a.epub").write_bytes(data)
    check_refused(tmp_path / "a.epub", *words)


def test_unreadable(tmp_path: Path) -> None:
    check_refused(tmp_path, "cannot be read")


def test_other_compressions_and_two_of_one_name(tmp_path: Path) -> None:
    pack(tmp_path / "a.epub", members(c1=chapter("<p>a</p>")))
    with zipfile.ZipFile(tmp_path / "a.epub", "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x", "x")
    check_refused(tmp_path / "a.epub", "deflate")
    with (
        zipfile.ZipFile(tmp_path / "a.epub", "a") as archive,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        archive.writestr("x", "x")
    check_refused(tmp_path / "a.epub", "two files of one name")


def test_zip_bombs(tmp_path: Path) -> None:
    files = members(c1=chapter("<p>a</p>"))
    zeros = bytes(SMALL)
    check_refused(pack(tmp_path / "a.epub", files | {"a.bin": zeros}), "zip bomb")
    many = {f"{n}.bin": bytes(SMALL // 16) for n in range(16)}
    check_refused(pack(tmp_path / "b.epub", files | many), "zip bomb")
    text = chapter("<p>a</p>") + " " * MAX_TEXT
    check_refused(pack(tmp_path / "c.epub", files | {"OEBPS/c1.xhtml": text}), "MiB")


def epubcheck(path: Path) -> list[str]:
    """Errors that epubcheck finds in a book."""
    command = shutil.which("epubcheck")
    assert command
    jar = Path(command).resolve()
    java = ["java", "-XX:ActiveProcessorCount=1", "-jar"]
    call = [*java, str(jar)] if jar.read_bytes()[:2] == b"PK" else [command]
    result = subprocess.run(
        [*call, str(path)], check=False, capture_output=True, text=True, timeout=300
    )
    lines = result.stdout + result.stderr
    assert "EPUB version" in lines, lines
    return re.findall(r"^(?:ERROR|FATAL)\(.*", lines, re.MULTILINE)


def new_book() -> dict[str, str | bytes]:
    """A book in EPUB 3."""
    files = members(c1=NASTY)
    opf = str(files["OEBPS/book.opf"])
    declared = 'href="c1.xhtml" properties="mathml scripted svg"'
    files["OEBPS/book.opf"] = opf.replace('href="c1.xhtml"', declared)
    return files


def old_book() -> dict[str, str | bytes]:
    """A book in EPUB 2."""
    doctype = (
        '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.1//EN" '
        '"http://www.w3.org/TR/xhtml11/DTD/xhtml11.dtd">'
    )
    body = (
        '<h1 id="p1"><a id="top">Premier</a> chapitre</h1><p>Un&nbsp;mot <i>en</i> <b>plus</b>'
        '<a href="#n1" id="r1"><sup>1</sup></a>.<br/><img src="i.png" alt="i"/></p>'
        '<p id="n1"><a href="#r1">1</a> Une <a href="#top" id="x">note</a>.</p>'
    )
    text = chapter(body).replace('lang="fr"', 'xml:lang="fr"')
    files = members(c1=f'<?xml version="1.0" encoding="utf-8"?>\n{doctype}\n{text}')
    files["OEBPS/book.opf"] = package(["c1.xhtml"], version="2.0")
    del files["OEBPS/nav.xhtml"]
    return files


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("epubcheck"), reason="needs epubcheck")
@pytest.mark.parametrize(("version", "bilingual"), [(2, False), (3, False), (3, True)])
def test_epubcheck(version: int, bilingual: bool, tmp_path: Path) -> None:
    document = EpubDocument(pack(tmp_path / "a.epub", old_book() if version == 2 else new_book()))
    texts = echoed(document.paragraphs)
    document.write(tmp_path / "b.epub", texts, language="en", bilingual=bilingual)
    assert epubcheck(tmp_path / "b.epub") == []


# what reading systems read, and what they do not show


@pytest.mark.parametrize("mimetype", [None, "", f"\ufeff{TYPE}\n", f" {TYPE}\r\n", TYPE.upper()])
def test_a_missing_or_crooked_mimetype(mimetype: str | None, tmp_path: Path) -> None:
    files = {**members(c1=chapter("<p>a</p>")), "mimetype": mimetype}
    path = pack(tmp_path / "a.epub", {k: v for k, v in files.items() if v is not None})
    document = EpubDocument(path)
    assert document.paragraphs[1] == "a"
    out = written(document, tmp_path / "b.epub", list(document.paragraphs))
    assert next(iter(out)) == "mimetype"
    assert (tmp_path / "b.epub").read_bytes()[30:58] == b"mimetype" + TYPE.encode()


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ('<!ENTITY nbsp "&#160;">', "a&nbsp;b"),
        ("<!ENTITY nbsp '&#xA0;'>", "a&nbsp;b"),
        ('<!ENTITY espace.fine "&#38;#160;">', "a&espace.fine;b"),
        ('<!ENTITY % L PUBLIC "-//W3C//ENTITIES Latin 1//EN" "l.ent"> %L;', "a&nbsp;b"),
    ],
)
def test_entities_that_are_characters(declared: str, text: str, tmp_path: Path) -> None:
    body = f"<!DOCTYPE html [{declared}]>" + chapter(f"<p>{text}</p>")
    assert opened(tmp_path, body).paragraphs == ["a\xa0b"]


def test_a_description_with_escaped_markup_is_counted(tmp_path: Path) -> None:
    files = members(c1=chapter("<p>a</p>"))
    title, name = "</dc:title>", "OEBPS/book.opf"
    description = "<dc:description>&lt;p&gt;Un livre&lt;/p&gt;</dc:description>"
    files[name] = str(files[name]).replace(title, title + description)
    document = EpubDocument(pack(tmp_path / "a.epub", files))
    assert document.skipped == {"descriptions with markup": 1}
    out = written(document, tmp_path / "b.epub", [text.upper() for text in document.paragraphs])
    assert description in out[name].decode()


def test_chapters_of_a_wrong_type_are_read_or_said(tmp_path: Path) -> None:
    files = members(c1=chapter("<p>a</p>"), c2=chapter("<p>b</p>"), c3="%PDF-1.7", c4=chapter("c"))
    opf = str(files["OEBPS/book.opf"])
    for n, media in ((1, "application/xhtml"), (2, "TEXT/HTML; x"), (3, "application/pdf")):
        opf = opf.replace(
            f'c{n}.xhtml" media-type="application/xhtml+xml', f'C{n}.xhtml" media-type="{media}'
        )
    files["OEBPS/book.opf"] = opf
    document = EpubDocument(pack(tmp_path / "a.epub", files))
    assert document.paragraphs[1:4] == ["a", "b", "c"]
    assert document.skipped == {"chapters in an unknown format": 1}


def test_verse_is_lines_whose_breaks_stay(tmp_path: Path) -> None:
    body = (
        '<p><i>Un</i> vers<br class="x"/>\n<span class="v">deux</span><a id="p"/><br/>'
        "<b>trois<br/>quatre</b> fin</p>"
    )
    assert opened(tmp_path, body).paragraphs == ["<1>Un</1> vers\ndeux\ntrois\n<2>quatre</2> fin"]
    assert translated(tmp_path, body, "<1>A</1> b\nc\nd\n<2>e</2> f") == (
        '<p><i>A</i> b<br class="x"/>\n<span class="v">c</span><a id="p"></a><br/>'
        "<b>d</b><br/><b>e</b> f</p>"
    )
    assert translated(tmp_path, body, "A") == (
        '<p>A<br class="x"/>\n<span class="v"></span><a id="p"></a><br/><b></b><br/></p>'
    )


def test_what_is_invisible_stands_at_its_share_of_the_text(tmp_path: Path) -> None:
    body = '<p>un deux <span role="doc-pagebreak" id="p">12</span>trois <a id="q"/>quatre</p>'
    assert opened(tmp_path, body).paragraphs == ["un deux trois quatre"]
    assert translated(tmp_path, body, "one two three four") == (
        '<p>one two <span role="doc-pagebreak" id="p">12</span>three <a id="q"></a>four</p>'
    )


def test_spans_of_one_look_are_one(tmp_path: Path) -> None:
    spans = "".join(f'<span class="k" id="k{n}">m{n} </span> ' for n in "abc")
    assert opened(tmp_path, f"<p>{spans}<em>f</em></p>").paragraphs == ["<1>ma mb mc </1> <2>f</2>"]
    out = translated(tmp_path, f"<p>{spans}<em>f</em></p>", "<1>ma mb mc </1> <2>g</2>")
    assert sorted(re.findall('id="(.*?)"', out)) == ["ka", "kb", "kc"]


def test_attributes_titles_and_drawings(tmp_path: Path) -> None:
    body = (
        '<p>un <img src="i.png" alt="chat" title="le chat"/></p><section aria-label="note">'
        '<svg xmlns="http://www.w3.org/2000/svg"><title>dessin</title><text>là</text></svg></section>'
    )
    assert opened(tmp_path, body).paragraphs == ["un", "chat", "le chat", "note", "dessin", "là"]
    out = translated(tmp_path, body, "one", "cat", "the cat", "remark", "drawing", "there")
    assert 'alt="cat" title="the cat"' in out
    assert 'aria-label="remark"' in out
    assert "<title>drawing</title><text>there</text>" in out


def test_right_to_left(tmp_path: Path) -> None:
    files = members(c1=chapter('<p dir="ltr">a</p><p lang="la">b</p>'))
    document = EpubDocument(pack(tmp_path / "a.epub", files))
    document.write(tmp_path / "b.epub", list(document.paragraphs), language="ar")
    with zipfile.ZipFile(tmp_path / "b.epub") as archive:
        assert b'page-progression-direction="rtl"' in archive.read("OEBPS/book.opf")
        text = archive.read("OEBPS/c1.xhtml").decode()
    assert 'lang="ar" dir="rtl"' in text
    assert '<p dir="rtl">a</p><p lang="la" dir="ltr">b</p>' in text
