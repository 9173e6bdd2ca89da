"""Books and HTML files read, written with their own text, and compared.

    python -m scripts.round_trips *.epub

For each file: paragraphs, what is left as it is, whether the structure stays when each paragraph
is its own translation, whether upper case comes back when each is written in upper case, and the
errors that epubcheck finds in that but not in the source.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

from lxml import etree

from templora_edge.documents import read_document
from templora_edge.documents.markup import PLACEHOLDER
from templora_edge.errors import DocumentError

LANGUAGE = re.compile(rb"""\s(?:xml:)?lang="[^"]*"|<dc:language[^>]*>[^<]*</dc:language>\s*""")


def main() -> None:
    """Print a line for each file."""
    for name in sys.argv[1:]:
        print(f"{Path(name).name}: {_tried(Path(name))}", flush=True)


def _tried(path: Path) -> str:
    begin = time.perf_counter()
    try:
        document = read_document(path)
    except DocumentError as error:
        return f"refused: {error}"
    with tempfile.TemporaryDirectory() as folder:
        same, louder = (Path(folder, f"{name}{path.suffix}") for name in ("same", "louder"))
        document.write(same, list(document.paragraphs), language="en")
        loud = [_upper(text) for text in document.paragraphs]
        document.write(louder, loud, language="en")
        differences = _differences(path, same)
        again = [text.upper() for text in read_document(louder).paragraphs]
        lost = Counter(map(str.upper, loud)) - Counter(again)
        seconds = time.perf_counter() - begin
        figures = [
            f"{len(loud)} paragraphs",
            *(f"{count} {what} left" for what, count in document.skipped.items()),
            f"{len(differences)} files differ {differences or ''}".strip(),
            f"{lost.total()} paragraphs lost {list(lost)[:2] or ''}".strip(),
        ]
        if path.suffix == ".epub" and shutil.which("epubcheck"):
            new = _errors(louder) - _errors(path)
            figures.append(f"{new.total()} new errors {list(new)[:3] or ''}".strip())
        return ", ".join([*figures, f"{seconds:.1f} s"])


def _upper(text: str) -> str:
    return "".join(
        part if PLACEHOLDER.fullmatch(part) else part.upper()
        for part in re.split(r"(</?[1-9]\d*/?>)", text)
    )


def _differences(source: Path, copy: Path) -> list[str]:
    """Names of files whose content is another, beside the language they name."""
    if source.suffix != ".epub":
        before, after = source.read_bytes(), copy.read_bytes()
        return [] if LANGUAGE.sub(b"", before) == LANGUAGE.sub(b"", after) else [source.name]
    with zipfile.ZipFile(source) as one, zipfile.ZipFile(copy) as other:
        names = {*one.namelist(), "mimetype"}
        if names != {*other.namelist()}:
            return ["(names)"]
        return [
            name
            for name in one.namelist()
            if name != "mimetype" and _canonical(one.read(name)) != _canonical(other.read(name))
        ]


def _canonical(data: bytes) -> bytes:
    parser = etree.XMLParser(resolve_entities=False, recover=True, no_network=True)
    try:
        root = etree.fromstring(data, parser)
        data = etree.tostring(root, method="c14n") if root is not None else data
    except etree.XMLSyntaxError:
        pass
    return LANGUAGE.sub(b"", data)


def _errors(path: Path) -> Counter[str]:
    """Kinds of errors that epubcheck finds in a book."""
    jar = Path(shutil.which("epubcheck") or "").resolve()  # or a script that runs it
    call = ["java", "-jar", str(jar)] if jar.read_bytes()[:2] == b"PK" else [str(jar)]
    result = subprocess.run(
        [*call, str(path)], check=False, capture_output=True, text=True, timeout=300
    )
    lines = result.stdout + result.stderr
    return Counter(re.findall(r"^(?:ERROR|FATAL)\((\S+)\)", lines, re.MULTILINE))


if __name__ == "__main__":
    main()
