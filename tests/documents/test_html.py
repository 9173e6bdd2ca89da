"""HTML files and pieces of HTML: what is read, and that all else stays as it was typed."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from templora_edge.documents import read_document
from templora_edge.documents.html.fragment import HtmlFragment
from templora_edge.documents.html.source import HtmlSource
from templora_edge.documents.markup import PLACEHOLDER
from templora_edge.errors import DocumentError


def swapcase(text: str) -> str:
    return "".join(
        part if PLACEHOLDER.fullmatch(part) else part.swapcase()
        for part in re.split(r"(</?[1-9]\d*/?>)", text)
    )


@pytest.mark.parametrize(
    ("html", "paragraphs", "expected"),
    [
        # open and closed in different blocks of Markdown
        ('<div align="center">\n<h1>Un <B>b</B></h1>\n', ["Un <1>b</1>"], None),
        ("<details>\n<summary>Voir</summary>\n", ["Voir"], None),
        ("</details>\n", [], None),
        ("a</div>b <x", ["a", "b <x"], "A</div>B &lt;X"),
        ("<p>a<p>b <b><i>c</b></i> d", ["a", "b <1><2>c</2></1> d"], None),
        ("<table><tr><td>a<td>b<tr><td>c</table>", ["a", "b", "c"], None),
        ("<ul><li>a<ul><li>b</ul><li>c</ul>", ["a", "b", "c"], None),
        ("<p>a&nbsp;&mdash; b<br>c", ["a\xa0— b\nc"], "<p>A&nbsp;&mdash; B<br>C"),
        ("<img src=a.png alt='Un chat'>", ["Un chat"], '<img src="a.png" alt="uN CHAT">'),
        (
            '<input placeholder="Nom" disabled @click="f()">',
            ["Nom"],
            '<input placeholder="nOM" disabled @click="f()">',
        ),
        ("<script>if (a<b) 'x</p>'</script><style>p{}</style>a", ["a"], None),
        ('<meta name=description content="Une page">', ["Une page"], None),
        ('<svg viewBox="0 0 1 1"><linearGradient/><text>Un</text></svg>', ["Un"], None),
        ("<!-- a --><?php echo 1 ?><o:p>b</o:p>", ["b"], None),
        ("<pre><code>ls -la</code></pre><p>a</p>", ["a"], "<pre><code>ls -la</code></pre><p>A</p>"),
        ("<pre>Un vers,\n  deux vers</pre>", ["Un vers,\ndeux vers"], None),
        ("<p>a &mdash; b<p>a — b<p>é<p>&eacute;", ["a — b", "a — b", "é", "é"], None),
        # what never ends: a comment reaches to the end, as in browsers, and all else is text
        ("a<!-- b", ["a"], "A<!-- b"),
        ("a<!-- b <i>c</i> d", ["a"], "A<!-- b <i>c</i> d"),
        ("<p>a</p>b <c d='", ["a", "b <c d='"], "<p>A</p>B &lt;C D='"),
        ("a<!-- b -->c", ["ac"], None),
        ("<pre>int main() {\n  return 0;\n}</pre>", [], None),
    ],
)
def test_pieces(html: str, paragraphs: list[str], expected: str | None) -> None:
    fragment = HtmlFragment(html)
    assert fragment.paragraphs == paragraphs
    assert fragment.translated(fragment.paragraphs, language="fr") == html
    swapped = fragment.translated([swapcase(text) for text in fragment.paragraphs], language="fr")
    if expected is not None:
        assert swapped == expected
    again = HtmlFragment(swapped).paragraphs
    assert again == [swapcase(text) for text in fragment.paragraphs]


TAGS = (
    "<p>", "</p>", "<b>", "</b>", "<DIV class=x>", "</DIV>", "<br>", "<table>", "<td>", "</table>",
    "<li>", "</ul>", "<a href='?a&b'>", "</a>", "&amp;", "<", "&eacute;", " a ", "b\r\n",
    "<!-- x", "-->", "<script>", "</script>", "<svg/>", "</q>", "<o:p>", "<textarea>",
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(TAGS), max_size=14).map("".join))
def test_any_html_is_written_as_it_was_typed(html: str) -> None:
    assert HtmlSource(html).to_text() == html


PAGE = (
    "<!DOCTYPE html>\n<HTML lang=fr>\n<head><meta charset={0}><title>Été</title></head>\n"
    "<body><p>Un œuf&nbsp;: “a”</p><p lang=la>Gallia est.</p></body></HTML>\n"
)


@pytest.mark.parametrize("encoding", ["utf-8", "windows-1252", "iso-8859-1"])
def test_files_keep_their_encoding(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.htm"
    path.write_bytes(PAGE.format(encoding).encode("cp1252" if encoding != "utf-8" else "utf-8"))
    document = read_document(path)
    assert document.paragraphs == ["Été", "Un œuf\xa0: “a”"]
    assert document.skipped == {"passages in another language": 1}
    document.write(tmp_path / "b.htm", ["Ω", "b"], language="ar")
    written = (tmp_path / "b.htm").read_bytes().decode("cp1252" if encoding != "utf-8" else "utf-8")
    omega = "Ω" if encoding == "utf-8" else "&#937;"
    expected = PAGE.format(encoding).replace("Été", omega).replace("Un œuf&nbsp;: “a”", "b")
    expected = expected.replace("<HTML lang=fr>", '<HTML lang="ar" dir="rtl">')
    assert written == expected.replace("<p lang=la>", '<p lang="la" dir="ltr">')


def test_an_encoding_that_no_one_names_is_marked(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_bytes("<p>Ils étaient déjà là, près de la forêt.</p>".encode("cp1252"))
    document = read_document(path, "fr")
    assert document.paragraphs == ["Ils étaient déjà là, près de la forêt."]
    document.write(tmp_path / "b.html", ["漢"], language="ja")
    assert (tmp_path / "b.html").read_bytes() == "\ufeff<p>漢</p>".encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<p>12</p>", ["nothing to translate"]),
        (b"<div>" * 300 + b"a", ["nested", "256"]),
        (b"<meta charset=utf-8><p>\xff</p>", ["utf-8", "0xff"]),
    ],
)
def test_refused(data: bytes, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes(data)
    with pytest.raises(DocumentError) as error:
        read_document(tmp_path / "a.html")
    message = str(error.value)
    assert message.startswith(str(tmp_path / "a.html"))
    assert "\n" not in message
    assert all(word in message for word in words)
