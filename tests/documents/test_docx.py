"""Word documents, from python-docx and by hand: translations replace text, the rest stays."""

import io
import random
import re
import shutil
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from copy import deepcopy
from itertools import groupby
from pathlib import Path

import docx
import pytest
from docx.document import Document as Package
from docx.enum.text import WD_BREAK
from docx.opc.constants import CONTENT_TYPE as CT
from docx.opc.constants import RELATIONSHIP_TYPE as RT
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml.ns import nsmap, qn
from docx.oxml.parser import parse_xml
from docx.text.paragraph import Paragraph
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from scripted import echoed

from templora_edge.documents import read_document
from templora_edge.documents.docx import DocxDocument
from templora_edge.documents.docx.paragraph import DocxParagraph
from templora_edge.documents.markup import PLACEHOLDER
from templora_edge.errors import DocumentError

SPACES = " ".join(
    f'xmlns:{prefix}="{uri}"'
    for prefix, uri in (
        *((prefix, nsmap[prefix]) for prefix in ("w", "r", "wp", "a", "m")),
        ("mc", "http://schemas.openxmlformats.org/markup-compatibility/2006"),
        ("wps", "http://schemas.microsoft.com/office/word/2010/wordprocessingShape"),
        ("v", "urn:schemas-microsoft-com:vml"),
    )
)
BOX = """<w:r><mc:AlternateContent><mc:Choice Requires="wps"><w:drawing><wp:inline>
<wp:extent cx="990000" cy="990000"/><wp:docPr id="77" name="Box"/><a:graphic>
<a:graphicData uri="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"><wps:wsp>
<wps:cNvSpPr txBox="1"/><wps:spPr><a:xfrm><a:off x="0" y="0"/><a:ext cx="990000" cy="990000"/>
</a:xfrm><a:prstGeom prst="rect"><a:avLst/></a:prstGeom></wps:spPr>
<wps:txbx><w:txbxContent>{0}</w:txbxContent></wps:txbx><wps:bodyPr/></wps:wsp></a:graphicData>
</a:graphic></wp:inline></w:drawing></mc:Choice><mc:Fallback><w:pict>
<v:shape style="width:80pt;height:80pt"><v:textbox><w:txbxContent>{0}</w:txbxContent></v:textbox>
</v:shape></w:pict></mc:Fallback></mc:AlternateContent></w:r>"""


def run(text: str, properties: str = "") -> str:
    inside = "".join(f"<w:{name}/>" if "<" not in name else name for name in properties.split())
    space = f"<w:rPr>{inside}</w:rPr>" if inside else ""
    return f'<w:r>{space}<w:t xml:space="preserve">{text}</w:t></w:r>'


def field(instruction: str, result: str) -> str:
    return (
        '<w:r><w:fldChar w:fldCharType="begin"/></w:r>'
        f"<w:r><w:instrText>{instruction}</w:instrText></w:r>"
        f'<w:r><w:fldChar w:fldCharType="separate"/></w:r>{result}'
        '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    )


def element(content: str, properties: str = "") -> etree._Element:
    return parse_xml(f"<w:p {SPACES}>{properties}{content}</w:p>")


def text_and_tree(content: str) -> tuple[str, etree._Element]:
    tree = element(content)
    return DocxParagraph(tree).text, tree


def written(content: str, translation: str, *, bilingual: bool = False) -> str:
    """Content of a paragraph after its translation, without namespace declarations."""
    tree = element(content)
    DocxParagraph(tree).write(translation, language="de", bilingual=bilingual)
    inside = "".join(etree.tostring(child, encoding="unicode") for child in tree)
    return re.sub(' xmlns:[^=]*="[^"]*"', "", inside)


def add(package: Package, content: str, style: str | None = None) -> Paragraph:
    """Append a paragraph of raw XML."""
    paragraph = package.add_paragraph(style=style)
    for child in element(content):
        paragraph._p.append(child)
    return paragraph


def png() -> io.BytesIO:
    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b""))
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks))


def add_notes(package: Package, kind: str, content_type: str, relation: str, text: str) -> None:
    separator = (
        f'<w:{kind} w:type="separator" w:id="0"><w:p><w:r><w:separator/></w:r></w:p></w:{kind}>'
    )
    note = (
        f'<w:{kind} w:id="2"><w:p><w:r><w:rPr><w:vertAlign w:val="superscript"/></w:rPr>'
        f"<w:{kind}Ref/></w:r>{run(' ')}{run(text)}</w:p></w:{kind}>"
    )
    data = f"<w:{kind}s {SPACES}>{separator}{note}</w:{kind}s>".encode()
    part = Part(PackURI(f"/word/{kind}s.xml"), content_type, data, package.part.package)
    package.part.relate_to(part, relation)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A document with everything in it."""
    package = docx.Document()
    package.core_properties.title = "Le livre"
    package.core_properties.language = "fr"
    package.add_heading("Chapitre un", 1)
    contents = '<w:hyperlink w:anchor="_Toc1">{}<w:r><w:tab/></w:r>{}</w:hyperlink>'
    begin = (
        '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText xml:space="preserve"> TOC '
        '\\o "1-3" </w:instrText></w:r><w:r><w:fldChar w:fldCharType="separate"/></w:r>'
    )
    add(package, begin + contents.format(run("Chapitre un"), field("PAGEREF _Toc1", run("1"))))
    add(package, contents.format(run("Chapitre deux"), field("PAGEREF _Toc1", run("2"))))
    add(package, '<w:r><w:fldChar w:fldCharType="end"/></w:r>')
    first = package.add_paragraph("Il ", style="Body Text")
    first.add_run("etait").italic = True
    first.add_run(" ")
    first.add_run("une fois").italic = True
    first.add_run(" un ")
    first.add_run("roi").bold = True
    first.add_run(",")
    first.add_run("\tdit-on.\nVraiment").font.name = None
    first.paragraph_format.first_line_indent = docx.shared.Cm(1)
    link = package.part.relate_to("https://example.org/", RT.HYPERLINK, is_external=True)
    add(
        package,
        f'{run("Voir ")}<w:hyperlink r:id="{link}">{run("ce lien", "u")}</w:hyperlink>'
        f'<w:bookmarkStart w:id="5" w:name="ici"/>{run(" ou")}<w:bookmarkEnd w:id="5"/>'
        f'{run(" la note")}<w:r><w:footnoteReference w:id="2"/></w:r>{run(", ou l’autre")}'
        f'<w:r><w:endnoteReference w:id="2"/></w:r>{run(".")}',
    )
    add_notes(package, "footnote", CT.WML_FOOTNOTES, RT.FOOTNOTES, "Une note.")
    add_notes(package, "endnote", CT.WML_ENDNOTES, RT.ENDNOTES, "Une autre note.")
    package.add_paragraph("Un article", style="List Bullet")
    package.add_paragraph("12 345", style="List Number")
    table = package.add_table(2, 2, style="Table Grid")
    table.cell(0, 0).text = "Nom"
    table.cell(0, 1).text = "42"
    table.cell(1, 0).merge(table.cell(1, 1)).text = "Tout en bas"
    table.cell(1, 0).add_table(1, 1).cell(0, 0).text = "Dedans"
    package.add_picture(png(), width=docx.shared.Cm(2))
    around = package.add_paragraph("Avant ")
    around.add_run().add_picture(png())
    around.add_run(" apres")
    box = f"<w:p>{run('Dans la ')}{run('boite', 'b')}</w:p><w:p>{run('Encore')}</w:p>"
    add(package, run("Autour") + BOX.format(box))
    add(
        package,
        f'<w:sdt><w:sdtPr><w:id w:val="9"/></w:sdtPr><w:sdtContent>{run("Choix")}</w:sdtContent>'
        f'</w:sdt>{run(" fait le ")}<w:fldSimple w:instr="DATE">{run("12 mai")}</w:fldSimple>'
        f'{run(" par")}<w:ins w:id="1" w:author="A">{run(" nous")}</w:ins>'
        '<w:del w:id="2" w:author="A"><w:r><w:delText>eux</w:delText></w:r></w:del>'
        f'{run(" deux")}<w:r><w:noBreakHyphen/><w:t>ci</w:t><w:sym w:char="F04A" w:font="W"/></w:r>'
        f"{run(' enfin')}",
    )
    commented = package.add_paragraph("Un mot ")
    commented_run = commented.add_run("commente")
    commented.add_run(" ici.")
    package.add_comment(commented_run, text="A relire", author="B")
    commented.add_run().add_break(WD_BREAK.PAGE)
    second = package.add_section()
    second.header.is_linked_to_previous = False
    second.header.paragraphs[0].text = "En tete"
    footer = second.footer.paragraphs[0]
    for child in element(
        run("Page ") + field(" PAGE ", run("3")) + run(" sur ") + field("NUMPAGES", run("9"))
    ):
        footer._p.append(child)
    package.add_paragraph("Fin")
    path = tmp_path_factory.mktemp("docx") / "book.docx"
    package.save(str(path))
    return path


PARAGRAPHS = [
    "Chapitre un",
    "Chapitre un",
    "Chapitre deux",
    "Il <1>etait une fois</1> un <2>roi</2>,\tdit-on.\nVraiment",
    "Voir <1>ce lien</1> ou la note<2/>, ou l’autre<3/>.",
    "Un article",
    "Nom",
    "Tout en bas",
    "Dedans",
    "Avant <1/> apres",
    "Autour",
    "Dans la <1>boite</1>",
    "Encore",
    "<1>Choix</1> fait le <2/> par<3> nous</3> deux\u2011ci<4/> enfin",
    "Un mot commente ici.",
    "Fin",
    "Une note.",
    "Une autre note.",
    "En tete",
    "Page <1/> sur",
    "A relire",
]


def parts(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def unmerged(data: bytes) -> bytes:
    """Canonical XML with the text of neighbouring runs that look the same in one run."""
    root = etree.fromstring(data, etree.XMLParser(remove_blank_text=True))
    for lang in list(root.iter(qn("w:lang"), qn("dc:language"))):
        parent = lang.getparent()
        assert parent is not None
        parent.remove(lang)
    for parent in {each.getparent() for each in root.iter(qn("w:r"))}:
        assert parent is not None
        single: list[tuple[bytes, etree._Element]] = []
        for child in list(parent):
            parent.remove(child)
            if child.tag != qn("w:r"):
                single.append((b"", child))
                continue
            properties = child.find(qn("w:rPr"))
            has_look = properties is not None and len(properties) > 0
            look = etree.tostring(properties, method="c14n") if has_look else b""
            for each in list(child):
                if each.tag == qn("w:t") and not (each.text or "").strip() and single:
                    look = single[-1][0]  # space has the look of the text before it
                if each is not properties:
                    single.append((look, each))
        for key, group in groupby(single, lambda each: (each[0], each[1].tag)):
            elements = [each for _, each in group]
            if key[1] == qn("w:t"):
                elements[0].text = "".join(each.text or "" for each in elements)
                elements[0].attrib.clear()
                del elements[1:]
            for each in elements:
                holder = etree.SubElement(parent, "run", look=key[0].decode())
                holder.append(each)
    return etree.tostring(root, method="c14n")


def check_same(before: Path, after: Path) -> None:
    old, new = parts(before), parts(after)
    assert old.keys() == new.keys()
    for name, data in old.items():
        if name.endswith((".xml", ".rels")):
            assert unmerged(data) == unmerged(new[name]), name
        else:
            assert data == new[name], name


def translated(path: Path, translate: Callable[[str], str], **options: bool) -> Package:
    document = DocxDocument(path)
    out = path.with_name("out.docx")
    texts = [translate(text) for text in document.paragraphs]
    document.write(out, texts, language="en", bilingual=options.get("bilingual", False))
    return docx.Document(str(out))


def louder(text: str) -> str:
    """Another text with the same placeholders."""
    return "".join(
        each if PLACEHOLDER.fullmatch(each) else each.upper()
        for each in re.split("(</?[1-9][0-9]*/?>)", text)
    )


def test_paragraphs_are_in_reading_order(book: Path) -> None:
    assert read_document(book).paragraphs == tuple(PARAGRAPHS)


def test_identity_changes_no_part(book: Path, tmp_path: Path) -> None:
    document = DocxDocument(book)
    data = book.read_bytes()
    out = tmp_path / "out.docx"
    for _ in range(2):  # a document can be written more than once
        document.write(out, echoed(document.paragraphs), language="en")
        check_same(book, out)
        assert DocxDocument(out).paragraphs == document.paragraphs
    assert book.read_bytes() == data
    before, after = docx.Document(str(book)), docx.Document(str(out))
    assert len(before.paragraphs) == len(after.paragraphs) == 15
    for old, new in zip(before.paragraphs, after.paragraphs, strict=True):
        assert (old.text, old.style and old.style.name) == (new.text, new.style and new.style.name)
    assert after.core_properties.title == "Le livre"
    assert len(after.inline_shapes) == len(before.inline_shapes) == 2


def test_comparison_sees_differences(book: Path) -> None:
    data = parts(book)["word/document.xml"]
    for old, new in (("roi", "rex"), ("<w:b/>", "<w:i/>"), ("<w:tab/>", ""), ("_Toc1", "_Toc2")):
        assert old.encode() in data
        assert unmerged(data) != unmerged(data.replace(old.encode(), new.encode()))


@pytest.mark.skipif(shutil.which("soffice") is None, reason="LibreOffice is not installed")
def test_libreoffice_sees_the_same_paragraphs(book: Path, tmp_path: Path) -> None:
    document = DocxDocument(book)
    for name, texts in (
        ("same", echoed(document.paragraphs)),
        ("louder", [louder(text) for text in document.paragraphs]),
    ):
        document.write(tmp_path / f"{name}.docx", texts, language="fr")
    shutil.copy(book, tmp_path / "source.docx")
    subprocess.run(
        [
            *("soffice", f"-env:UserInstallation=file://{tmp_path}/profile", "--headless"),
            *("--convert-to", "fodt", "--outdir", tmp_path),
            *(tmp_path / f"{name}.docx" for name in ("source", "same", "louder")),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    seen = {}
    for name in ("source", "same", "louder"):
        root = etree.parse(str(tmp_path / f"{name}.fodt")).getroot()
        text = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
        seen[name] = [
            (each.tag, "".join(str(piece) for piece in each.itertext()))
            for each in root.iter(f"{text}p", f"{text}h")
        ]
    assert seen["source"] == seen["same"]
    assert len(seen["source"]) > 20
    for word in ("Il etait une fois un roi", "Dans la boite", "En tete", "Une note."):
        assert any(word in each for _, each in seen["source"])
        assert any(word.upper() in each for _, each in seen["louder"])
    assert [tag for tag, _ in seen["louder"]] == [tag for tag, _ in seen["source"]]


def test_translation_replaces_all_text_and_nothing_else(book: Path) -> None:
    out = translated(book, louder)
    xml = [part.blob.decode() for part in out.part.package.parts if part.partname.endswith(".xml")]
    for word in ("Chapitre", "etait", "Dedans", "boite", "Encore", "nous", "Une note", "A relire"):
        assert not any(f">{word}" in each for each in xml), word
        assert any(word.upper() in each for each in xml), word
    assert out.core_properties.title == "Le livre"
    for word in ("eux", "12 mai", "_Toc1", "PAGEREF", "12 345"):
        assert any(word in each for each in xml), word
    styles = [each.style.name for each in out.paragraphs if each.style]
    assert {"Heading 1", "Body Text", "List Bullet", "List Number"} <= set(styles)


def test_text_boxes_are_the_same_for_old_and_new_readers(book: Path) -> None:
    out = translated(book, louder)
    boxes = list(out.element.iter(qn("w:txbxContent")))
    assert len(boxes) == 2
    for box in boxes:
        texts = ["".join(t.text or "" for t in paragraph.iter(qn("w:t"))) for paragraph in box]
        assert texts == ["DANS LA BOITE", "ENCORE"]
        assert len(list(box.iter(qn("w:b")))) == 1


def test_an_old_reader_text_box_of_its_own_is_offered(tmp_path: Path) -> None:
    package = docx.Document()
    tree = etree.tostring(element(BOX.format(f"<w:p>{run('Une')}</w:p>")), encoding="unicode")
    head, tail = tree.rsplit("Une", 1)
    package.element.body.insert(0, parse_xml(f"{head}Autre{tail}"))
    package.save(str(tmp_path / "a.docx"))
    assert DocxDocument(tmp_path / "a.docx").paragraphs == ("Une", "Autre")


BOLD = "<w:rPr><w:b/></w:rPr>"
NOTE = '<w:r><w:footnoteReference w:id="2"/></w:r>'


def test_runs_that_look_alike_are_one() -> None:
    noise = (
        '<w:proofErr w:type="spellStart"/><w:r w:rsidR="00AA"><w:rPr><w:lang w:val="fr-FR"/>'
        '<w:noProof/></w:rPr><w:t>bon</w:t></w:r><w:proofErr w:type="spellEnd"/><w:r><w:rPr/>'
        '<w:lastRenderedPageBreak/><w:t xml:space="preserve">jour </w:t></w:r>'
    )
    assert text_and_tree(noise + run("vous"))[0] == "bonjour vous"
    assert text_and_tree(run("a", "b") + run(" ") + run("b", "b"))[0] == "a b"
    assert text_and_tree(run("a ") + run("b", "b i") + run("c", "i b") + run(" dddd"))[0] == (
        "a <1>bc</1> dddd"
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        # what is most frequent is the base, also in a link
        (run("Titre gras ", "b") + run("fin"), "Titre gras <1>fin</1>"),
        (run("a") + run("longtemps", "b") + run("c"), "<1>a</1>longtemps<2>c</2>"),
        (
            f"{run('voir ')}<w:hyperlink>{run('un long ', 'u')}{run('lien', 'u b')}</w:hyperlink>",
            "voir <1>un long <2>lien</2></1>",
        ),
        (f"<w:hyperlink>{run('un', 'u')}</w:hyperlink>{run(' ')}", "un"),
        # a thing between texts of one look is inside their span
        (run("a ") + run("b", "b") + NOTE + run("c", "b") + run(" dd"), "a <1>b<2/>c</1> dd"),
        (run("aa ") + run("b", "b") + NOTE + run(" cc"), "aa <1>b</1><2/> cc"),
        # things at the ends are outside, those in a row are one
        (f"<w:r><w:tab/></w:r>{run(' a ')}{NOTE}", "a"),
        (f"{run('a ')}{NOTE}<w:r><w:br/><w:tab/></w:r>{run(' b')}", "a <1/>\n\t b"),
        # space that cannot be seen to be bold, and space that can be seen to be underlined
        (run("aa") + run(" ", "b") + run("bb"), "aa bb"),
        (run("nom ") + run("   ", "u") + run(" ville"), "nom <1/> ville"),
        # space at the ends of a text counts only if it is to be preserved
        ("<w:r><w:t> a </w:t></w:r><w:r><w:t> b</w:t></w:r>", "ab"),
        ('<w:smartTag xml:space="preserve"><w:r><w:t>a </w:t></w:r></w:smartTag>b', "a"),
        # fields
        (run("voir ") + field("HYPERLINK x", run("ici", "u")) + run(" la"), "voir <1>ici</1> la"),
        (run("p. ") + field(" PAGE ", run("3")) + run(" la"), "p. <1/> la"),
        (run("a ") + field("IF", field("PAGE", run("3"))) + run(" b"), "a <1/> b"),
        (f'<w:fldSimple w:instr=" HYPERLINK x ">{run("ici")}</w:fldSimple>', "ici"),
        # text in disguise
        (run("a &lt;1/&gt; b"), "a <1/> b"),
        # ruby
        (
            f"<w:r><w:ruby><w:rubyPr/><w:rt>{run('かん')}</w:rt><w:rubyBase>{run('漢')}</w:rubyBase>"
            f"</w:ruby></w:r>{run('の字')}",
            "<1>漢</1>の字",
        ),
        # nothing to read
        (f"<w:hyperlink><w:r><w:drawing/></w:r></w:hyperlink>{run('a')}", "a"),
        ("<w:r><w:delText>a</w:delText></w:r>", ""),
    ],
)
def test_text_of_a_paragraph(content: str, text: str) -> None:
    assert text_and_tree(content)[0] == text


def test_placeholders_move_with_their_text() -> None:
    content = (
        run("Le ") + run("chat", "b") + run(" dort") + NOTE + run(" sur le ")
        + f'<w:hyperlink r:id="rId9">{run("tapis", "u")}</w:hyperlink>' + run(" la")
    )  # fmt: skip
    assert text_and_tree(content)[0] == "Le <1>chat</1> dort<2/> sur le <3>tapis</3> la"
    assert written(content, "Auf dem <3>Teppich</3> schläft<2/> die <1>Katze</1>") == (
        '<w:r><w:t xml:space="preserve">Auf dem </w:t></w:r>'
        '<w:hyperlink r:id="rId9"><w:r><w:rPr><w:u/></w:rPr><w:t>Teppich</w:t></w:r></w:hyperlink>'
        '<w:r><w:t xml:space="preserve"> schläft</w:t></w:r>' + NOTE
        + '<w:r><w:t xml:space="preserve"> die </w:t></w:r>'
        "<w:r><w:rPr><w:b/></w:rPr><w:t>Katze</w:t></w:r>"
    )  # fmt: skip
    assert written(content, "Ohne alles<2/>") == f"<w:r><w:t>Ohne alles</w:t></w:r>{NOTE}"


def test_marks_stay_in_order() -> None:
    """To a word processor, a bookmark or field that ends before it begins is damage."""
    start, end = '<w:bookmarkStart w:id="1" w:name="x"/>', '<w:bookmarkEnd w:id="1"/>'
    content = run("a ") + start + run("b ") + NOTE + run("c") + end + run(" d")
    assert text_and_tree(content)[0] == "a b <1/>c d"
    assert written(content, "D b <1/>c") == (
        f"{run('D ')}{start}{run('b ')}{NOTE}<w:r><w:t>c</w:t></w:r>{end}"
    )


def test_what_xml_cannot_hold_is_dropped_and_hyphens_are_word_s_own() -> None:
    content = "<w:r><w:t>a</w:t><w:noBreakHyphen/><w:t>b</w:t><w:softHyphen/><w:t>c</w:t></w:r>"
    assert text_and_tree(content)[0] == "a\u2011b\u00adc"
    assert written(content, "a\u2011b\u00adc") == content
    assert written(content, "x\0\x0b\ud800y") == "<w:r><w:t>xy</w:t></w:r>"


def test_tabs_and_line_breaks_stay_where_they_were() -> None:
    content = "<w:r><w:t>Nom :</w:t><w:tab/><w:t>le roi</w:t><w:br/><w:t>Age :</w:t></w:r>"
    assert text_and_tree(content)[0] == "Nom :\tle roi\nAge :"
    assert written(content, "Name:\tder König\nAlter:") == (
        "<w:r><w:t>Name:</w:t><w:tab/><w:t>der König</w:t><w:br/><w:t>Alter:</w:t></w:r>"
    )
    page = run("a") + '<w:r><w:br w:type="page"/></w:r>' + run("b")
    assert text_and_tree(page)[0] == "a<1/>b"


def test_what_is_invisible_does_not_cut_a_sentence_or_a_span() -> None:
    start, end = '<w:commentRangeStart w:id="1"/>', '<w:commentRangeEnd w:id="1"/>'
    reference = '<w:r><w:commentReference w:id="1"/></w:r>'
    content = (
        f"{run('Le ')}{start}{run('vieux', 'b')}{end}{reference}{run(' roi', 'b')}"
        f"<w:proofErr/>{run(' Arthur dort bien')}"
    )
    assert text_and_tree(content)[0] == "Le <1>vieux roi</1> Arthur dort bien"
    out = written(content, "<1>Old King</1> Arthur sleeps well")
    assert out.index(start) < out.index(end) < out.index(reference) < out.index("Arthur")
    assert "Arthur sleeps well" in out


def test_what_is_left_is_counted(book: Path) -> None:
    # two numbers of pages in the contents, the date, page and pages of the footer
    assert DocxDocument(book).skipped == {"fields": 5, "deletions": 1}


def with_picture(path: Path, **attributes: str) -> Path:
    package = docx.Document()
    package.add_paragraph("Voici le phare").add_run().add_picture(png())
    (properties,) = package.element.iter(qn("wp:docPr"))
    for name, value in attributes.items():
        properties.set(name, value)
    package.core_properties.title = "Voici le phare"
    package.save(str(path))
    return path


def test_descriptions_and_the_title_of_the_document_are_translated(tmp_path: Path) -> None:
    path = with_picture(tmp_path / "a.docx", descr="Un <5> phare", title="phare.png")
    assert DocxDocument(path).paragraphs == ("Voici le phare", "Un <1/> phare")
    out = translated(path, louder)
    (properties,) = out.element.iter(qn("wp:docPr"))
    assert (properties.get("descr"), properties.get("title")) == ("UN <5> PHARE", "phare.png")
    assert out.core_properties.title == "VOICI LE PHARE"
    (properties,) = translated(path, louder, bilingual=True).element.iter(qn("wp:docPr"))
    assert properties.get("descr") == "Un <5> phare\nUN <5> PHARE"


def test_a_package_without_properties_gets_none(tmp_path: Path) -> None:
    package = docx.Document()
    package.add_paragraph("Bonjour")
    package.save(str(tmp_path / "full.docx"))
    data = parts(tmp_path / "full.docx")
    del data["docProps/core.xml"]
    core = b'<Relationship [^>]*core-properties"[^>]*>'
    data["_rels/.rels"] = re.sub(core, b"", data["_rels/.rels"])
    (tmp_path / "a.docx").write_bytes(zipped(data))
    DocxDocument(tmp_path / "a.docx").write(tmp_path / "b.docx", ["Hallo"], language="de")
    assert parts(tmp_path / "b.docx").keys() == data.keys()


@pytest.mark.parametrize("language", ["ar", "he", "fa", "ur", "de"])
def test_direction_is_that_of_the_language(book: Path, language: str) -> None:
    document = DocxDocument(book)
    path = book.with_name("rtl.docx")
    document.write(path, document.paragraphs, language=language)
    rtl = language != "de"
    out = docx.Document(str(path))
    for paragraph in out.element.iter(qn("w:p")):
        assert len(paragraph.findall(f"{qn('w:pPr')}/{qn('w:bidi')}")) == rtl
        for each in paragraph.iter(qn("w:r")):
            assert len(each.findall(f"{qn('w:rPr')}/{qn('w:rtl')}")) == rtl
    path.unlink()


def test_direction_stands_where_the_schema_has_it(tmp_path: Path) -> None:
    package = docx.Document()
    properties = '<w:pPr><w:keepNext/><w:spacing w:after="0"/><w:jc w:val="left"/></w:pPr>'
    inside = '<w:rPr><w:b/><w:lang w:val="fr"/></w:rPr>'
    tree = element(f"<w:r>{inside}<w:t>Un</w:t></w:r>", properties)
    package.element.body.insert(0, tree)
    package.save(str(tmp_path / "a.docx"))
    DocxDocument(tmp_path / "a.docx").write(tmp_path / "b.docx", ["واحد"], language="ar")
    out = docx.Document(str(tmp_path / "b.docx")).element.body[0]
    names = [each.tag.rpartition("}")[2] for each in out.iter()]
    assert " ".join(names) == "p pPr keepNext bidi spacing jc r rPr b rtl lang t"


@pytest.mark.parametrize("language", ["ar", "de"])
def test_tables_and_columns_go_in_the_direction_of_the_language(
    tmp_path: Path, language: str
) -> None:
    package = docx.Document()
    table = package.add_table(1, 2, style="Table Grid")
    table.cell(0, 0).text = "Un"
    table.cell(0, 1).add_table(1, 1).cell(0, 0).text = "Deux"
    path = tmp_path / "a.docx"
    package.save(str(path))
    for target, rtl in ((language, language == "ar"), ("fr", False)):
        document = DocxDocument(path)
        path = tmp_path / f"{target}.docx"
        document.write(path, document.paragraphs, language=target)
        tree = docx.Document(str(path)).element
        tables = [*tree.iter(qn("w:tblPr"))]
        assert len(tables) == 2
        for properties in tables:
            names = [each.tag.rpartition("}")[2] for each in properties]
            assert names.count("bidiVisual") == rtl
            if rtl:  # its place in the schema
                assert names.index("bidiVisual") == names.index("tblW") - 1
        for section in tree.iter(qn("w:sectPr")):
            names = [each.tag.rpartition("}")[2] for each in section]
            assert names.count("bidi") == rtl
            assert not rtl or names.index("bidi") == names.index("docGrid") - 1


def test_a_literal_placeholder_comes_back_as_text() -> None:
    content = run("Taper &lt;7&gt; ") + run("puis", "b") + run(" rien")
    assert text_and_tree(content)[0] == "Taper <1/> <2>puis</2> rien"
    assert "Erst </w:t></w:r><w:r><w:rPr><w:b/></w:rPr><w:t>&lt;7&gt;" in written(
        content, "Erst <2><1/></2>"
    )


def test_what_is_no_translation_is_an_error() -> None:
    tree = element(run("a ") + run("b", "b") + run(" cc"))
    with pytest.raises(ValueError, match="not a translation"):
        DocxParagraph(tree).write("<1>a", language="de", bilingual=False)


def test_bilingual_keeps_the_source_and_repeats_nothing_that_is_one(book: Path) -> None:
    source = docx.Document(str(book))
    out = translated(book, louder, bilingual=True)
    texts = [each.text for each in out.paragraphs]
    assert "Chapitre un\nCHAPITRE UN" in texts
    sentence = "Il etait une fois un roi,\tdit-on.\nVraiment"
    assert f"{sentence}\n{sentence.upper()}" in texts
    assert "Page 3 sur\nPAGE 3 SUR 9" in [each.text for each in out.sections[-1].footer.paragraphs]
    for name in (
        *("footnoteReference", "endnoteReference", "bookmarkStart", "bookmarkEnd"),
        *("commentRangeStart", "commentRangeEnd", "commentReference"),
        *("drawing", "sdt", "del", "ins", "p", "sectPr"),
    ):
        tag = qn(f"w:{name}")
        assert len(list(out.element.iter(tag))) == len(list(source.element.iter(tag))) > 0, name
    assert len(list(out.element.iter(qn("w:hyperlink")))) == 4  # that of the text is there twice
    for each in out.element.iter(qn("w:t")):
        parent = each.getparent()
        assert parent is not None
        lang = parent.find(f"{qn('w:rPr')}/{qn('w:lang')}")
        is_translation = bool(re.search("[A-Z]{2}", each.text or ""))
        assert (lang is not None and lang.get(qn("w:val")) == "en") == is_translation or len(
            (each.text or "").strip()
        ) < 3
    assert DocxDocument(book.with_name("out.docx")).paragraphs[0] == "Chapitre un\nCHAPITRE UN"


@pytest.mark.parametrize(
    ("language", "attributes"),
    [
        ("de-AT", {"val": "de-AT", "eastAsia": "en-US", "bidi": "ar-SA"}),
        ("zh-CN", {"val": "zh-CN", "eastAsia": "zh-CN", "bidi": "ar-SA"}),
        ("he", {"val": "he", "eastAsia": "en-US", "bidi": "he"}),
    ],
)
def test_language_is_that_of_the_translation(
    tmp_path: Path, language: str, attributes: dict[str, str]
) -> None:
    package = docx.Document()
    package.core_properties.language = "fr"
    add(package, '<w:r><w:rPr><w:lang w:val="fr-FR"/></w:rPr><w:t>Bonjour</w:t></w:r>')
    package.save(str(tmp_path / "a.docx"))
    DocxDocument(tmp_path / "a.docx").write(tmp_path / "b.docx", ["Hallo"], language=language)
    out = docx.Document(str(tmp_path / "b.docx"))
    (lang,) = out.element.iter(qn("w:lang"))
    assert lang.get(qn("w:val")) == language
    (lang,) = out.styles.element.iter(qn("w:lang"))
    assert {name: lang.get(qn(f"w:{name}")) for name in attributes} == attributes
    assert out.core_properties.language == language


def test_language_is_said_where_it_was_not(tmp_path: Path) -> None:
    package = docx.Document()
    package.add_paragraph("Bonjour")
    styles = package.styles.element
    styles.remove(styles[0])
    package.save(str(tmp_path / "a.docx"))
    DocxDocument(tmp_path / "a.docx").write(tmp_path / "b.docx", ["Hallo"], language="de")
    out = docx.Document(str(tmp_path / "b.docx")).styles.element
    (lang,) = out[0].iter(qn("w:lang"))
    assert [each.tag for each in lang.iterancestors()] == [
        qn(f"w:{name}") for name in ("rPr", "rPrDefault", "docDefaults", "styles")
    ]
    assert lang.get(qn("w:val")) == "de"


looks = st.sampled_from(["", "b", "i", "u", "b i"])
texts = st.text(st.sampled_from("ab é<1/>&\u2011\u00a0字"), max_size=8).map(
    lambda text: run(text.replace("&", "&amp;").replace("<", "&lt;"))
)
things = st.sampled_from(
    [
        *("<w:r><w:br/></w:r>", "<w:r><w:tab/><w:t>x</w:t></w:r>", NOTE, field("PAGE", run("3"))),
        *('<w:bookmarkStart w:id="1" w:name="a"/>', '<w:bookmarkEnd w:id="1"/>'),
        *(f'<w:r>{BOLD}<w:t xml:space="preserve">bold </w:t></w:r>', run(" ", "u"), run("i", "i")),
        *('<w:r><w:fldChar w:fldCharType="begin"/></w:r>', "<w:proofErr/>"),
        '<w:r><w:fldChar w:fldCharType="end"/></w:r>',
    ]
)
around = st.sampled_from(
    [
        *("{}", "<w:hyperlink>{}</w:hyperlink>", '<w:ins w:id="3">{}</w:ins>'),
        *("<w:sdt><w:sdtPr/><w:sdtContent>{}</w:sdtContent></w:sdt>", field("HYPERLINK x", "{}")),
    ]
)


@st.composite
def contents(draw: st.DrawFn, depth: int = 3) -> str:
    content = ""
    for _ in range(draw(st.integers(0, 4))):
        inner = contents(depth - 1) if depth else texts | things
        content += draw(around).format(draw(inner | texts | things))
    return content


def flat(tree: etree._Element) -> list[str]:
    """What a reader sees: every character with its look, and spaces without."""
    hyphens = {"\u2011": f"{qn('w:noBreakHyphen')}[]", "\u00ad": f"{qn('w:softHyphen')}[]"}
    seen = []
    for each in tree.iter("*"):
        if each.tag in {qn(f"w:{name}") for name in ("p", "r", "rPr", "b", "i", "u", "proofErr")}:
            continue
        parent = each.getparent()
        assert parent is not None
        look = sorted(str(one.tag) for one in parent.iterfind("w:rPr/*", nsmap))
        around = [str(above.tag) for above in each.iterancestors() if above.tag != qn("w:r")]
        if each.tag == qn("w:t"):
            seen += [
                f"{around}{'' if c.isspace() else look}{hyphens.get(c, c)}" for c in each.text or ""
            ]
        else:
            seen.append(f"{around}{look}{each.tag}{sorted(each.values())}")
    return seen


@given(contents())
def test_identity_of_any_paragraph(content: str) -> None:
    tree = element(content, '<w:pPr><w:pStyle w:val="Heading1"/></w:pPr>')
    before = deepcopy(tree)
    paragraph = DocxParagraph(tree)
    assert etree.tostring(tree) == etree.tostring(before)  # reading changes nothing
    assert paragraph.text == paragraph.text.strip(" \u00a0")
    if paragraph.text:
        paragraph.write(paragraph.text, language="de", bilingual=False)
        assert flat(tree) == flat(before)
        assert DocxParagraph(tree).text == paragraph.text


@given(contents())
def test_any_translation_keeps_what_is_no_text(content: str) -> None:
    tree, twice = element(content), element(content)
    paragraph = DocxParagraph(tree)
    if not paragraph.text:
        return
    before = deepcopy(tree)
    numbers = [int(match[2]) for match in PLACEHOLDER.finditer(paragraph.text) if match[3]]
    plain = "mots" + "".join(f"<{number}/>" for number in reversed(numbers))
    paragraph.write(plain, language="de", bilingual=False)
    for name in ("footnoteReference", "bookmarkStart", "bookmarkEnd", "fldChar"):
        kept, found = (
            [[*map(str, each.values())] for each in root.iter(qn(f"w:{name}"))]
            for root in (tree, before)
        )
        if name != "fldChar":
            assert kept == found
        elif "HYPERLINK" not in content:  # a link goes with its span, a whole field may move
            assert sorted(kept) == sorted(found)
    DocxParagraph(twice).write(plain, language="de", bilingual=True)
    for name in ("footnoteReference", "bookmarkStart", "bookmarkEnd", "ins", "sdt"):
        assert len(list(twice.iter(qn(f"w:{name}")))) == len(list(before.iter(qn(f"w:{name}"))))


def changed(path: Path, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """The package with one part changed, or added."""
    data = {name: b""} | parts(path)
    data[name] = change(data[name])
    return zipped(data)


def zipped(data: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, content in data.items():
            archive.writestr(each, content)
    return out.getvalue()


def with_entity(data: bytes) -> bytes:
    dtd = b'<!DOCTYPE d [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    return re.sub(b"(<w:(?:document|footnotes) )", dtd + rb"\1", data).replace(b">Fin<", b">&e;<")


def encrypted_zip(path: Path) -> bytes:
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := data.find(signature, at + 1)) >= 0:
            data[at + offset] |= 1
    return bytes(data)


OLE = bytes.fromhex("d0cf11e0a1b11ae1")
STRICT = b"http://purl.oclc.org/ooxml/officeDocument"
TRANSITIONAL = b"http://schemas.openxmlformats.org/officeDocument/2006"
BAD: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "empty file": (lambda book: b"", "empty"),
    "prose": (lambda book: b"Just prose.", "not a zip archive"),
    "encrypted": (lambda book: OLE + "EncryptedPackage".encode("utf-16-le"), "encrypted"),
    "no package": (lambda book: zipped({"prose.txt": b"Just prose."}), "no _rels/.rels"),
    "old": (lambda book: OLE + b"\0" * 600, ".doc"),
    "encrypted zip": (encrypted_zip, "encrypted"),
    "cut": (lambda book: book.read_bytes()[:-400], "not a zip archive"),
    "other archive": (
        lambda book: changed(book, "_rels/.rels", lambda data: data.replace(b"/office", b"/x")),
        "damaged",
    ),
    "no document": (
        lambda book: changed(book, "[Content_Types].xml", lambda data: data.replace(b"main", b"x")),
        "damaged",
    ),
    "strict": (
        lambda book: changed(book, "_rels/.rels", lambda data: data.replace(TRANSITIONAL, STRICT)),
        "Strict",
    ),
    "bomb": (lambda book: changed(book, "word/x.xml", lambda data: b"\0" * (1 << 27)), "zip bomb"),
    "outside": (lambda book: changed(book, "../../evil", lambda data: b"x"), "out of the archive"),
    "rooted": (lambda book: changed(book, "/etc/evil", lambda data: b"x"), "out of the archive"),
    "body entity": (lambda book: changed(book, "word/document.xml", with_entity), "DTD"),
    "note entity": (lambda book: changed(book, "word/footnotes.xml", with_entity), "DTD"),
    "broken XML": (
        lambda book: changed(book, "word/document.xml", lambda data: data[:-30]),
        "damaged",
    ),
    "missing part": (
        lambda book: changed(
            book, "word/_rels/document.xml.rels", lambda data: data.replace(b"styles.xml", b"NULL")
        ),
        "damaged",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line(book: Path, tmp_path: Path, name: str) -> None:
    make, words = BAD[name]
    path = tmp_path / "bad.docx"
    path.write_bytes(make(book))
    with pytest.raises(DocumentError) as caught:
        read_document(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "root:" not in str(caught.value)


def test_a_document_without_words_is_refused(tmp_path: Path) -> None:
    package = docx.Document()
    package.add_paragraph("1 + 1 = 2")
    package.save(str(tmp_path / "a.docx"))
    with pytest.raises(DocumentError, match=r"a\.docx: empty"):
        DocxDocument(tmp_path / "a.docx")


def test_damage_anywhere_is_refused_or_harmless(book: Path, tmp_path: Path) -> None:
    """Whatever bytes are wrong, the result is a one-line error or a document, not a traceback."""
    dice = random.Random(5)  # noqa: S311
    path, out = tmp_path / "bad.docx", tmp_path / "out.docx"
    data = book.read_bytes()
    names = [name for name in parts(book) if name.endswith((".xml", ".rels"))]
    refused = read = 0

    def corrupt(content: bytes) -> bytes:
        wrong = bytearray(content)
        for _ in range(3):
            wrong[dice.randrange(len(wrong))] = dice.choice(b'<>"/&x\0 ')
        return bytes(wrong)

    for index in range(120):
        path.write_bytes(corrupt(data) if index % 2 else changed(book, dice.choice(names), corrupt))
        try:
            document = DocxDocument(path)
        except DocumentError as error:
            refused += "\n" not in str(error)
        else:
            read += 1
            document.write(out, document.paragraphs, language="en")
    assert refused + read == 120
    assert min(refused, read) > 10
