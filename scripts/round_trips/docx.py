"""Put Word documents of others through an engine that repeats, and say what changes in them.

Usage: python -m scripts.round_trips.docx FILE_OR_FOLDER...

For each folder or file: documents, those refused (one line each), paragraphs, and documents whose
content differs after an identity translation. Compared are characters with their look, and elements
with their attributes, in order but without their nesting, of the XML parts in word/ but styles.xml.
Spaces, language, direction, spelling marks and `w:rsid` do not count.
"""

import re
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from lxml import etree

from templora_edge.documents import read_document
from templora_edge.errors import TemploraError
from templora_edge.translation.segmenter import assembled, segments

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
IGNORED = {f"{W}{name}" for name in ("lang", "noProof", "proofErr", "lastRenderedPageBreak")}
IGNORED |= {f"{W}bidi", f"{W}rtl", "{http://purl.org/dc/elements/1.1/}language"}
HYPHENS = {f"{W}tab": "\t", f"{W}br": "\n", f"{W}cr": "\n"}


def content(data: bytes) -> list[str]:
    """Characters with their look, and elements, in order."""
    root = etree.fromstring(data)
    seen: list[str] = []
    for element in root.iter("*"):
        parent = element.getparent()
        above = {str(each.tag) for each in element.iterancestors()}
        if element.tag in IGNORED | {f"{W}r", f"{W}rPr"} or f"{W}rPr" in above:
            continue
        properties = parent.find(f"{W}rPr") if parent is not None else None
        look = sorted(
            etree.tostring(each, method="c14n", exclusive=True, with_tail=False).decode()
            for each in (properties if properties is not None else ())
            if each.tag not in IGNORED
        )
        if element.tag == f"{W}t":
            text = re.sub(r"[\t\r\n]", " ", element.text or "")
            seen += [f"{'' if each.isspace() else look}{each}" for each in text]
        elif element.tag in HYPHENS and not element.attrib:
            seen.append(HYPHENS[str(element.tag)])
        else:
            values = [f"{k!s}={v!s}" for k, v in element.items() if "rsid" not in k]
            seen.append(f"{element.tag} {sorted(values)}")
    return [each for each in seen if each != " "]


def differs(before: Path, after: Path) -> list[str]:
    """Names of the parts that differ."""
    with zipfile.ZipFile(before) as old, zipfile.ZipFile(after) as new:
        names = [name for name in old.namelist() if name.startswith("word/")]
        return [
            name
            for name in names
            if name.endswith(".xml")
            and name not in ("word/styles.xml",)
            and (name not in new.namelist() or content(old.read(name)) != content(new.read(name)))
        ]


def main(places: list[str]) -> None:
    """Print a line for each place, and one for each document that is refused or differs."""
    with tempfile.TemporaryDirectory() as folder:
        for place in map(Path, places):
            files = sorted(place.rglob("*.docx")) if place.is_dir() else [place]
            n_refused = n_differ = n_paragraphs = 0
            begun = time.perf_counter()
            for path in files:
                out = Path(folder) / "out.docx"
                try:
                    document = read_document(path)
                    texts = document.paragraphs
                    cut = [segments(text, lambda piece: len(piece) < 400) for text in texts]
                    same = [
                        assembled(text, [(one, one) for one in pieces])
                        for text, pieces in zip(texts, cut, strict=True)
                    ]
                    document.write(out, same, language="fr")
                except TemploraError as error:
                    n_refused += 1
                    print(f"  refused: {str(error)[-150:]}")
                    continue
                n_paragraphs += len(texts)
                different = differs(path, out)
                n_differ += bool(different)
                if different:
                    print(f"  {path.name}: differs in {', '.join(different)}")
            seconds = time.perf_counter() - begun
            print(
                f"{place.name}: {len(files)} documents, {n_refused} refused, {n_paragraphs} "
                f"paragraphs, {n_differ} differ, {seconds:.1f} s"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
