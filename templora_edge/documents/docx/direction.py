"""Direction of writing in WordprocessingML: paragraphs, runs, tables and sections."""

from typing import Final

from docx.oxml.ns import qn
from docx.oxml.parser import OxmlElement
from lxml import etree

_FLAGS: Final = {
    qn("w:p"): ("w:pPr", "w:bidi"),
    qn("w:r"): ("w:rPr", "w:rtl"),
    qn("w:tbl"): ("w:tblPr", "w:bidiVisual"),
    qn("w:sectPr"): (None, "w:bidi"),
}
"""Element -> the child that holds its properties, if it is not itself that, and its flag."""
_AFTER: Final = {
    "w:rPr": ("cs", "em", "lang", "eastAsianLayout", "specVanish", "oMath", "rPrChange"),
    "w:pPr": (
        *("adjustRightInd", "snapToGrid", "spacing", "ind", "contextualSpacing", "mirrorIndents"),
        *("suppressOverlap", "jc", "textDirection", "textAlignment", "textboxTightWrap"),
        *("outlineLvl", "divId", "cnfStyle", "rPr", "sectPr", "pPrChange"),
    ),
    "w:tblPr": (
        *("tblStyleRowBandSize", "tblStyleColBandSize", "tblW", "jc", "tblCellSpacing", "tblInd"),
        *("tblBorders", "shd", "tblLayout", "tblCellMar", "tblLook", "tblCaption"),
        *("tblDescription", "tblPrChange"),
    ),
    "w:sectPr": ("rtlGutter", "docGrid", "printerSettings", "sectPrChange"),
}
"""Properties that come after the flag (17.3.1.26, 17.3.2.28, 17.4.59, 17.6.17)."""
_HOLDERS: Final = frozenset(map(qn, _AFTER))


def set_direction(root: etree._Element, *, rtl: bool) -> None:
    """Have everything under ``root`` go from right to left, or from left to right."""
    for old in [*root.iter(qn("w:bidi"), qn("w:rtl"), qn("w:bidiVisual"))]:
        parent = old.getparent()
        if parent is not None and parent.tag in _HOLDERS:
            parent.remove(old)
    if rtl:
        for element in [*root.iter(*_FLAGS)]:
            name, flag = _FLAGS[element.tag]
            set_flag(element if name is None else _properties(element, name), flag)


def set_flag(properties: etree._Element, name: str) -> None:
    """Set a property that is on or off, at its place among the others."""
    for old in properties.findall(qn(name)):
        properties.remove(old)
    kind = properties.tag.rpartition("}")[2]
    after = {qn(f"w:{each}") for each in _AFTER[f"w:{kind}"]}
    place = next((i for i, each in enumerate(properties) if each.tag in after), len(properties))
    properties.insert(place, OxmlElement(name))


def _properties(element: etree._Element, name: str) -> etree._Element:
    """The child of ``element`` that holds its properties; a new one if it has none."""
    properties = element.find(qn(name))
    if properties is None:
        properties = OxmlElement(name)
        element.insert(0, properties)
    return properties
