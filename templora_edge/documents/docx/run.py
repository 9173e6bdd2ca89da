"""Runs of WordprocessingML (ECMA-376, part 1, 17.3.2): text and its look."""

import re
from collections.abc import Iterable
from copy import deepcopy
from typing import Final

from docx.oxml.ns import qn
from docx.oxml.parser import OxmlElement
from lxml import etree

from templora_edge.documents.xml_file import ILLEGAL

RunNode = tuple[etree._Element | None, etree._Element]
"""A run and an element in it, or None and an element outside runs."""
Look = frozenset[bytes]
"""Visible properties of a run, as canonical XML."""

_PRESERVE: Final = (qn("xml:space"), "preserve")
_XML_SPACE: Final = " \t\r\n"

_HYPHENS: Final = {"\u2011": "w:noBreakHyphen", "\u00ad": "w:softHyphen"}
_SPECIAL: Final = _HYPHENS | {"\t": "w:tab", "\n": "w:br"}
_CHARACTERS: Final = {qn(name): character for character, name in _SPECIAL.items()} | {
    qn("w:cr"): "\n"
}
PROPERTIES: Final = {qn(f"w:{name}") for name in ("pPr", "rPr", "smartTagPr", "customXmlPr")}
"""Children of paragraphs, runs and containers that are not content."""
_UNSEEN: Final = {qn("w:lang"), qn("w:noProof")}
_UNSEEN_ON_SPACE: Final = _UNSEEN | {qn(f"w:{name}") for name in ("b", "bCs", "i", "iCs", "color")}


def text_of(element: etree._Element) -> str | None:
    """The text that a child of a run stands for; None if it is not text."""
    if element.tag == qn("w:t"):
        return _text(element)
    return None if element.attrib else _CHARACTERS.get(element.tag)  # a page break is no text


def text_nodes(text: str, run: etree._Element) -> list[RunNode]:
    """``text`` as XML, formatted as ``run``; characters that XML cannot express are dropped."""
    nodes: list[RunNode] = []
    for part in re.split(f"([{''.join(_SPECIAL)}])", ILLEGAL.sub("", text)):
        if part:
            element = OxmlElement(_SPECIAL.get(part, "w:t"))
            if part not in _SPECIAL:
                element.text = part
                if part != part.strip(_XML_SPACE):
                    element.set(*_PRESERVE)
            nodes.append((run, element))
    return nodes


def put(nodes: Iterable[RunNode], parent: etree._Element) -> None:
    """Append ``nodes`` to ``parent``; neighbours of the same run share one."""
    last: etree._Element | None = None
    for run, node in nodes:
        if run is None:
            parent.append(node)
        elif run is last:
            parent[-1].append(node)
        else:
            shell = shell_of(run)
            shell.append(node)
            parent.append(shell)
        last = run


def shell_of(run: etree._Element) -> etree._Element:
    """An empty run with the properties of ``run``."""
    shell = OxmlElement("w:r")
    for name, value in run.items():
        shell.set(name, value)
    properties = run.find(qn("w:rPr"))
    if properties is not None:
        shell.append(deepcopy(properties))
    return shell


def empty(element: etree._Element) -> None:
    """Remove everything but the properties of ``element``."""
    for child in list(element):
        if child.tag not in PROPERTIES:
            element.remove(child)


def look_of(run: etree._Element, *, on_space: bool = False) -> Look:
    """The look of text in ``run``; with ``on_space``, of white space in it."""
    properties = run.find(qn("w:rPr"))
    unseen = _UNSEEN_ON_SPACE if on_space else _UNSEEN
    return frozenset(
        etree.tostring(each, method="c14n", exclusive=True, with_tail=False)
        for each in (properties if properties is not None else ())
        if each.tag not in unseen
    )


def _text(element: etree._Element) -> str:
    """Text of a w:t, stripped unless its space is to be preserved."""
    text = re.sub(f"[{_XML_SPACE}]", " ", element.text or "")
    if text == text.strip(_XML_SPACE):
        return text
    spaces = element.xpath("ancestor-or-self::*/@xml:space")
    preserved = isinstance(spaces, list) and spaces[-1:] == ["preserve"]
    return text if preserved else text.strip(_XML_SPACE)
