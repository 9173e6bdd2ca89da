"""Word documents: the content of their parts."""

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lxml import etree

_W: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_IGNORED: Final = frozenset(
    (
        *(f"{_W}{name}" for name in ("lang", "noProof", "proofErr", "lastRenderedPageBreak")),
        *(f"{_W}{name}" for name in ("bidi", "rtl", "bidiVisual")),
        "{http://purl.org/dc/elements/1.1/}language",
    )
)
_CHARACTERS: Final = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n"}


def differences(before: Path, after: Path) -> list[str]:
    """Names of the XML parts in word/, but styles.xml, whose content differs.

    That is characters with their look, and elements with their attributes, in order but without
    their nesting. Language, direction, spelling marks and `w:rsid` do not count, nor does how many
    spaces there are, nor one beside an element.
    """
    with zipfile.ZipFile(before) as old, zipfile.ZipFile(after) as new:
        return [
            name
            for name in old.namelist()
            if re.fullmatch(r"word/.*(?<!styles)\.xml", name)
            and (name not in new.namelist() or _content(old.read(name)) != _content(new.read(name)))
        ]


def _content(data: bytes) -> list[str]:
    """Characters with their look, and elements, in order."""
    seen: list[str] = []
    for element in etree.fromstring(data).iter("*"):
        above = {str(each.tag) for each in element.iterancestors()}
        if element.tag in {*_IGNORED, f"{_W}r", f"{_W}rPr"} or f"{_W}rPr" in above:
            continue
        if element.tag == f"{_W}t":
            look = _look(element)
            text = re.sub(r"[\t\r\n]", " ", element.text or "")
            seen += [each if each.isspace() else f"{each}{look}" for each in text]
        elif element.tag in _CHARACTERS and not element.attrib:
            seen.append(_CHARACTERS[str(element.tag)])
        else:
            values = [f"{k!s}={v!s}" for k, v in element.items() if "rsid" not in k]
            seen.append(f"{element.tag} {sorted(values)}")
    return [
        each
        for each, *around in zip(seen, ["{", *seen], [*seen[1:], "{"], strict=False)
        if each != " " or not _is_beside(around)
    ]


def _look(text: etree._Element) -> list[str]:
    run = text.getparent()
    properties = run.find(f"{_W}rPr") if run is not None else None
    return sorted(
        etree.tostring(each, method="c14n", exclusive=True, with_tail=False).decode()
        for each in (properties if properties is not None else ())
        if each.tag not in _IGNORED
    )


def _is_beside(around: Sequence[str]) -> bool:
    """Whether a space is after a space, or beside an element, a tab or a break."""
    return around[0] == " " or any(each[0] in "{\t\n" for each in around)
