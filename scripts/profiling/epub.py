"""Make an EPUB 3 from a plain text: the first line is the title, short lines are headings.

Usage: python -m scripts.profiling.epub TEXT.txt OUT.epub [--language fr]
"""

import argparse
import zipfile
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Final
from uuid import NAMESPACE_URL, uuid5

DATE: Final = (2026, 1, 1, 0, 0, 0)
"""Date of all files in a book, fixed so that the same text gives the same book."""
MODIFIED: Final = "2026-01-01T00:00:00Z"
HEADING: Final = 40
"""Most characters of a heading, which must end with a letter or digit."""
STYLE: Final = "h1, h2 { text-align: center }\np { margin: 0; text-indent: 1.5em }\n"
CONTAINER: Final = """<?xml version="1.0" encoding="UTF-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="OEBPS/book.opf"
media-type="application/oebps-package+xml"/></rootfiles></container>
"""
PAGE: Final = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"
lang="{language}" xml:lang="{language}">
<head><title>{title}</title><link rel="stylesheet" type="text/css" href="style.css"/></head>
<body>
{body}
</body></html>
"""
PACKAGE: Final = """<?xml version="1.0" encoding="UTF-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="id">urn:uuid:{uuid}</dc:identifier><dc:title>{title}</dc:title>
<dc:language>{language}</dc:language><meta property="dcterms:modified">{modified}</meta></metadata>
<manifest>
<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="style" href="style.css" media-type="text/css"/>
{items}
</manifest>
<spine>{references}</spine></package>
"""


def chapters(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Headings, each with its paragraphs; paragraphs before the first heading have an empty one."""
    heading, paragraphs = "", list[str]()
    for line in lines:
        if len(line) <= HEADING and line[-1].isalnum():
            if paragraphs:
                yield heading, paragraphs
            heading, paragraphs = line, []
        else:
            paragraphs.append(line)
    if paragraphs:
        yield heading, paragraphs


def book(text: str, language: str) -> dict[str, str]:
    """The files of the archive, by name, in order."""
    title, *lines = [line.strip() for line in text.splitlines() if line.strip()]
    pages, items, entries = {}, [], []
    for number, (heading, paragraphs) in enumerate(chapters(lines), 1):
        name = f"chapter{number}"
        body = [f"<h1>{escape(title)}</h1>"] if number == 1 else []
        body += [f"<h2>{escape(heading)}</h2>"] if heading else []
        body += [f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs]
        page = PAGE.format(language=language, title=escape(title), body="\n".join(body))
        pages[f"OEBPS/{name}.xhtml"] = page
        items.append(f'<item id="{name}" href="{name}.xhtml" media-type="application/xhtml+xml"/>')
        entries.append(f'<li><a href="{name}.xhtml">{escape(heading or title)}</a></li>')
    nav = f'<nav epub:type="toc"><h1>{escape(title)}</h1><ol>{"".join(entries)}</ol></nav>'
    package = PACKAGE.format(
        uuid=uuid5(NAMESPACE_URL, text),
        title=escape(title),
        language=language,
        modified=MODIFIED,
        items="\n".join(items),
        references="".join(f'<itemref idref="chapter{n}"/>' for n in range(1, len(pages) + 1)),
    )
    return {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "OEBPS/book.opf": package,
        "OEBPS/nav.xhtml": PAGE.format(language=language, title=escape(title), body=nav),
        "OEBPS/style.css": STYLE,
        **pages,
    }


def write_book(path: Path, files: dict[str, str]) -> None:
    """Write ``files`` as the archive ``path``."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            kind = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name, DATE), data, kind)


def main() -> None:
    """Parse the command line, read the text, write the book."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.profiling.epub", description=summary)
    parser.add_argument("text", type=Path, metavar="TEXT.txt")
    parser.add_argument("out", type=Path, metavar="OUT.epub")
    parser.add_argument("--language", default="fr", metavar="CODE")
    arguments = parser.parse_args()
    files = book(arguments.text.read_text(encoding="utf-8"), arguments.language)
    write_book(arguments.out, files)


if __name__ == "__main__":
    main()
