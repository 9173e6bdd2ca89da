"""Trees of XML that other tools wrote, and trees that are written for them."""

from pathlib import Path
from typing import Final

from lxml import etree
from lxml.etree import _Element

from templora_edge.documents.xml_file import XmlFile
from templora_edge.errors import DocumentError

XML: Final = "{http://www.w3.org/XML/1998/namespace}"
"""Namespace of xml:lang and xml:space."""


def read_tree(path: Path, flag: str, name: str) -> _Element:
    """The root of a file, an element ``name``, read as `XmlFile` does.

    Raises:
        DocumentError: the file cannot be read, is no safe XML, or has another root.
    """
    try:
        root = XmlFile(path.read_bytes(), f"{flag} {path}").root
    except OSError as error:
        raise DocumentError(f"{flag} {path}: cannot be read ({error.strerror})") from error
    if local_name(root) != name:
        raise DocumentError(f"{flag} {path}: begins with <{root.tag}>; expected {name.upper()}")
    return root


def write_tree(path: Path, root: _Element, texts: tuple[str, ...], doctype: str = "") -> None:
    """Write ``root`` in UTF-8, indented but for the contents of the elements named ``texts``.

    Raises:
        OSError: ``path`` cannot be written.
    """
    _indent(root, texts, "\n")
    declaration = '<?xml version="1.0" encoding="UTF-8"?>\n'
    body = etree.tostring(root, encoding="unicode")
    path.write_text(f"{declaration}{doctype}{body}\n", encoding="utf-8", newline="")


def local_name(element: _Element) -> str:
    """The name of an element without its namespace; empty for comments and instructions."""
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def _indent(element: _Element, texts: tuple[str, ...], before: str) -> None:
    if local_name(element) in texts or not len(element):
        return
    element.text = f"{before}  "
    for child in element:
        _indent(child, texts, f"{before}  ")
        child.tail = f"{before}  "
    element[-1].tail = before
