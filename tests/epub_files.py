"""EPUB files for tests, among them a chapter with everything that is hard in XHTML."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

XHTML = "http://www.w3.org/1999/xhtml"
TYPE = "application/epub+zip"
CONTAINER = """<?xml version="1.0"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/>
</rootfiles></container>
"""
NAV = f"""<?xml version="1.0" encoding="UTF-8"?>
<html xmlns="{XHTML}" xmlns:epub="http://www.idpf.org/2007/ops" lang="fr">
<head><title>Table</title></head><body>
<nav epub:type="toc"><h1>Table</h1><ol><li><a href="c1.xhtml">Premier <i>chapitre</i></a>
<ol><li><a href="c1.xhtml#n1">Une note</a></li></ol></li></ol></nav>
<nav epub:type="page-list" hidden=""><ol><li><a href="c1.xhtml#p1">xii</a></li></ol></nav>
</body></html>
"""
NCX = """<?xml version="1.0" encoding="UTF-8"?>
<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/" version="2005-1" xml:lang="fr">
<head><meta name="dtb:uid" content="urn:uuid:1b4e28ba-2fa1-11d2-883f-0016d3cca427"/></head>
<docTitle><text>Le livre</text></docTitle><docAuthor><text>Une Autrice</text></docAuthor>
<navMap><navPoint id="n1" playOrder="1"><navLabel><text>Premier chapitre</text></navLabel>
<content src="c1.xhtml"/></navPoint></navMap>
<pageList><navLabel><text>Pages</text></navLabel><pageTarget id="pt" type="front" playOrder="2">
<navLabel><text>xii</text></navLabel><content src="c1.xhtml#p1"/></pageTarget></pageList></ncx>
"""
NASTY = f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<?xml-stylesheet type="text/css" href="style.css"?>
<!-- before <html> -->
<!DOCTYPE html>
<html xmlns="{XHTML}" xmlns:epub="http://www.idpf.org/2007/ops"
      xmlns:m="http://www.w3.org/1998/Math/MathML" lang="fr" xml:lang="fr">
<head><title>Premier chapitre</title><link rel="stylesheet" type="text/css" href="style.css" />
<style type="text/css"><![CDATA[ p > b {{ color: red }} ]]></style></head>
<body epub:type="bodymatter" class="a  b">
<!-- a comment with <b>markup</b> & more -->
<section id="s1"><h1 class="titre"><a id="top"></a>Premier <em>chapitre</em></h1>
<p>  Un mot<a epub:type="noteref" href="#n1" id="r1"><sup>1</sup></a>, <i lang="la">nota
   bene</i>, et <span class="c1">de</span><span class="c1">ux</span>.<br />
   Fin&#160;: <code>x&lt;1</code> &lt;1/&gt;. </p>
<div>Hors bloc <b>gras</b><p>dedans <span epub:type="pagebreak" id="p1" title="12"/>encore</p>
après <ul><li>point un</li><li>point deux<ol><li>sous-point</li></ol> suite</li></ul></div>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
     viewBox="0 0 1 1"><title>dessin</title><use xlink:href="#s"/><path id="s" d=""/></svg>
<p>La somme <m:math><m:mi>x</m:mi></m:math> vaut <img src="i.png" alt="i"/> trois.</p>
<table><caption>Légende</caption><tr><th>Tête</th><td><p>Case <q>une</q></p></td></tr></table>
<dl><dt>terme</dt><dd>définition</dd></dl>
<pre>Texte   tel
 quel</pre><p translate="no">Nom propre</p>
<p><ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp></ruby>と<ruby>字<rt>じ</rt></ruby></p>
<blockquote><p><i>Tout en italique</i></p></blockquote><hr/>
<figure><img src="i.png" alt=""/><figcaption>Une image</figcaption></figure></section>
<aside epub:type="footnote" id="n1"><p><a href="#r1">1</a> Une note.</p></aside>
<script>if (a &lt; b) {{ "texte" }}</script><?pi fin?>
</body>
</html>
<!-- after -->
"""
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0"
    "000003010100c9fe92ef0000000049454e44ae426082"
)


def chapter(body: str, head: str = "<title>1</title>") -> str:
    return f'<html xmlns="{XHTML}" lang="fr"><head>{head}</head><body>{body}</body></html>'


def package(chapters: list[str], *, version: str = "3.0") -> str:
    media = {".xhtml": "application/xhtml+xml", ".svg": "image/svg+xml"}
    items = [
        f'<item id="{name[:-6]}" href="{name.replace("é", "%C3%A9")}" '
        f'media-type="{media[Path(name).suffix]}"/>'
        for name in chapters
    ]
    nav = '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
    modified = '<meta property="dcterms:modified">2024-01-01T00:00:00Z</meta>'
    is_3 = version == "3.0"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="{version}" unique-identifier="uid">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="uid">urn:uuid:1b4e28ba-2fa1-11d2-883f-0016d3cca427</dc:identifier>
<dc:title>Le livre</dc:title><dc:language>fr</dc:language><dc:language>la</dc:language>
{modified if is_3 else ""}</metadata>
<manifest>{"".join(items)}{nav if is_3 else ""}
<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>
<item id="i" href="i.png" media-type="image/png"/><item id="css" href="style.css"
media-type="text/css"/></manifest>
<spine toc="ncx">{"".join(f'<itemref idref="{n[:-6]}" linear="yes"/>' for n in chapters)}</spine>
</package>
"""


def members(**chapters: str | bytes) -> dict[str, str | bytes]:
    """The members of an EPUB 3 with the chapters ``c1`` to ``cN``."""
    texts = {f"OEBPS/{name}.xhtml": text for name, text in chapters.items()}
    return {
        "mimetype": TYPE,
        "META-INF/container.xml": CONTAINER,
        "OEBPS/book.opf": package([f"{name}.xhtml" for name in chapters]),
        **texts,
        "OEBPS/nav.xhtml": NAV,
        "OEBPS/toc.ncx": NCX,
        "OEBPS/style.css": "p { margin: 0 }",
        "OEBPS/i.png": PNG,
    }


def pack(path: Path, files: Mapping[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            stored = name == "mimetype" or name.endswith(".png")
            kind = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            archive.writestr(name, data, kind)
    return path


def encryption(*algorithms: str) -> str:
    data = "".join(
        f'<e:EncryptedData><e:EncryptionMethod Algorithm="{algorithm}"/></e:EncryptedData>'
        for algorithm in algorithms
    )
    return (
        '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" '
        f'xmlns:e="http://www.w3.org/2001/04/xmlenc#">{data}</encryption>'
    )
