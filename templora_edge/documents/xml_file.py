"""XML of unknown origin: read safely, repaired where it is broken, written back in its own form.

The parser sees the root element alone. So no entity is declared and no DTD loaded, whatever the
file says; entities that are characters are replaced before. What precedes the root (declaration,
doctype, comments) is written back unchanged.
"""

import codecs
import re
from collections.abc import Mapping
from html import escape, unescape
from html.entities import html5
from typing import Final

from lxml import etree
from lxml.etree import _Element

from templora_edge.errors import DocumentError

ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot express in any form (XML 1.0, section 2.2)."""

# HTML's elements without an end tag
_VOID: Final = frozenset((
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param",
    "source", "track", "wbr",
))  # fmt: skip
_BOMS: Final = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_DECLARED: Final = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.-]+)""")
_PROLOG: Final = re.compile(
    r"""(?:\s+|<\?.*?\?>|<!--.*?-->
    |<!DOCTYPE(?:[^\["'>]|"[^"]*"|'[^']*'|\[[^\]]*\])*>|<!DOCTYPE[^>]*>)*""",
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
_DOUBTFUL: Final = re.compile(
    r"""<!--.*?(?:-->|\Z)|<!\[CDATA\[.*?(?:\]\]>|\Z)|<\?.*?(?:\?>|\Z)
    |&(?P<entity>[A-Z][\w.-]*;)|&(?!\#\d+;|\#x[\dA-F]+;)
    |<(?![!?]|/?[^\W\d][\w.-]*(?::[\w.-]+)?[\s/>])""",
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
"""Sections with arbitrary content, then each `&` and `<` that XML may not accept."""
_ENTITY: Final = re.compile(
    r"""<!ENTITY\s+(?P<name>[A-Z][\w.-]*)\s+(?P<quote>["'])(?P<value>[^"'<%]{0,200}?)(?P=quote)\s*>""",
    re.IGNORECASE,
)
_CATALOGUE: Final = re.compile(
    r"""<!ENTITY\s+%\s+\S+\s+PUBLIC\s+["']-//W3C//ENTITIES[^"'<>]*["']\s+["'][^"'<>]*["']\s*>""",
    re.IGNORECASE,
)
_MAX_EXPANSION: Final = 1 << 20
"""Characters that entities may add to a text besides doubling it."""
_SECTIONS: Final = re.compile(
    r"<!--.*?(?:-->|\Z)|<!\[CDATA\[.*?(?:\]\]>|\Z)|<\?.*?(?:\?>|\Z)", re.DOTALL
)
_SVG: Final = re.compile(r"<svg\b.*?(?:</svg>|\Z)", re.DOTALL)
_CAMEL_CASE: Final = re.compile(r"\b[a-z]+[A-Z]\w*")
_CDATA: Final = re.compile(
    r"""<(?P<raw>script|style)\b.*?(?:</(?P=raw)>|\Z)|<!\[CDATA\[(?P<text>.*?)(?:\]\]>|\Z)""",
    re.DOTALL,
)
_SELF_CLOSED: Final = re.compile(
    rf"""<(?!(?:{"|".join(_VOID)})\b)([A-Za-z][^\s/<>]*+)((?:[^<>"'/]|/(?!>)|"[^"<]*"|'[^'<]*')*+)/>"""
)
# libxml2 does not read what comes after them
_LAST_TAGS: Final = re.compile(r"</(?:body|html)\s*>", re.IGNORECASE)
_ATTRIBUTE: Final = re.compile(r"[A-Za-z_:][\w:.-]*")


class _BrokenError(DocumentError):
    """The text is not well-formed XML."""


class XmlFile:
    """The tree of an XML file, with what is needed to write it back.

    Args:
        name: Name of the file, for messages.
        is_html: Whether it is XHTML, which is read as HTML if it is not well-formed XML.

    Raises:
        DocumentError: It declares entities, is not in the encoding it names, or is so broken that
            text would be lost.
    """

    def __init__(self, data: bytes, name: str, *, is_html: bool = False) -> None:
        self._is_html = is_html
        self._bom, self._encoding, text = _decoded(data, name)
        entities = _entities(text, name)
        self._has_crlf = "\r\n" in text
        prolog = _PROLOG.match(text)
        self._prolog = prolog.group() if prolog else ""
        body = ILLEGAL.sub("", text[len(self._prolog) :])
        body = _DOUBTFUL.sub(lambda match: _mended(match, entities), body)
        if len(body) > 2 * len(text) + _MAX_EXPANSION:
            raise DocumentError(f"{name}: its entities expand to too much; expected characters")
        self._end = body[len(body.rstrip()) :].replace("\r\n", "\n")
        self.root: _Element = _parsed_html(body, name) if is_html else _parsed(body, name)

    def to_bytes(self) -> bytes:
        """The file with the current tree."""
        if self._is_html:
            _spell_end_tags(self.root)
        body = etree.tostring(self.root.getroottree(), encoding="unicode") + self._end
        if self._has_crlf:
            body = body.replace("\n", "\r\n")
        return self._bom + (self._prolog + body).encode(self._encoding, "xmlcharrefreplace")


def _decoded(data: bytes, name: str) -> tuple[bytes, str, str]:
    """Byte order mark, encoding and text of ``data``."""
    bom = next((bom for bom in _BOMS if data.startswith(bom)), b"")
    declared = _DECLARED.match(data)
    encoding = _BOMS.get(bom) or (declared.group(1).decode().lower() if declared else "utf-8")
    if not bom and encoding.startswith("utf-16"):  # it would not have been read so far
        encoding = "utf-8"
    try:
        if encoding == "utf-8":
            text = data[len(bom) :].decode(encoding, "surrogateescape")
            return bom, encoding, re.sub("[\udc80-\udcff]", _typed_on_windows, text)
        return bom, encoding, data[len(bom) :].decode(encoding)
    except (LookupError, UnicodeDecodeError) as error:
        raise DocumentError(
            f"{name}: not in the encoding that it names, {encoding}; convert it with iconv"
        ) from error


def _typed_on_windows(match: re.Match[str]) -> str:
    """A byte that is not UTF-8, read as Windows-1252."""
    return bytes([ord(match.group()) - 0xDC00]).decode("cp1252", "replace")


def _entities(text: str, name: str) -> dict[str, str]:
    """Characters and short texts that ``text`` declares as entities, by name and semicolon.

    Raises:
        DocumentError: An entity is of another kind: a file, or made of other entities or tags.
    """
    entities: dict[str, str] = {}
    declared = _SECTIONS.sub("", text)
    for match in re.finditer("<!ENTITY", declared, re.IGNORECASE):
        if _CATALOGUE.match(declared, match.start()):
            continue  # HTML's own entities, which are known
        entity = _ENTITY.match(declared, match.start())
        value = _characters(_characters(entity["value"])) if entity else ""
        if entity is None or (len(value) > 1 and set(value) & set("<&%")):
            raise DocumentError(
                f"{name}: declares entities that are not characters, which is not safe; "
                "expected none"
            )
        entities[entity["name"] + ";"] = value
    return entities


def _characters(value: str) -> str:
    """``value`` with its references to characters resolved."""
    return re.sub(r"&#(?:[0-9]{1,7}|x[0-9A-Fa-f]{1,6});", lambda m: unescape(m.group()), value)


def _mended(match: re.Match[str], entities: Mapping[str, str]) -> str:
    """Replace entities by their characters, and escape what is not markup."""
    found, entity = match.group(), match["entity"]
    if found == "<":
        return "&lt;"
    if found.startswith("<") or entity in ("amp;", "lt;", "gt;", "quot;", "apos;"):
        return found
    value = entities.get(entity or "", html5.get(entity or ""))
    return "&amp;" + found[1:] if value is None else escape(value)


def _parsed(text: str, name: str) -> _Element:
    """The root of ``text``. The only fault that is tolerated is an undeclared prefix."""
    if not text:
        raise DocumentError(f"{name}: empty; expected XML")
    parser = etree.XMLParser(
        encoding="utf-8", recover=True, resolve_entities=False, no_network=True, strip_cdata=False
    )
    root = etree.fromstring(text.encode(), parser)
    for fault in parser.error_log:
        if fault.domain_name == "PARSER" and fault.level_name != "WARNING":
            raise _BrokenError(f"{name}: {fault.message}; expected well-formed XML")
    if not isinstance(root, _Element):
        raise _BrokenError(f"{name}: no element in it; expected well-formed XML")
    return root


def _parsed_html(text: str, name: str) -> _Element:
    """The root of XHTML, however broken: HTML's parser takes any text."""
    try:
        return _parsed(text, name)
    except _BrokenError as error:
        broken = error
    html = _LAST_TAGS.sub("", _SELF_CLOSED.sub(r"<\1\2></\1>", _CDATA.sub(_without_cdata, text)))
    parser = etree.HTMLParser(encoding="utf-8", no_network=True)
    root = etree.fromstring(html.encode(), parser)
    if not isinstance(root, _Element):
        raise broken
    for fault in parser.error_log:
        if fault.type_name == "ERR_RESOURCE_LIMIT":  # it reads on without what is further in
            raise DocumentError(f"{name}: elements nested too deeply; expected at most 256 levels")
    # HTML's names are in lower case, those of SVG are not
    spelling = {
        name.lower(): name for svg in _SVG.findall(text) for name in _CAMEL_CASE.findall(svg)
    }
    for element in root.iter():
        if not isinstance(element.tag, str):
            element.text = re.sub(r"-(?=-|\Z)", "- ", element.text or "")
            continue
        if element.tag in spelling:
            element.tag = spelling[element.tag]
        attributes = [(str(key), str(value)) for key, value in element.attrib.items()]
        element.attrib.clear()
        for key, value in attributes:
            if _ATTRIBUTE.fullmatch(key):
                element.set(spelling.get(key, key), value)
    return _parsed(etree.tostring(root, encoding="unicode"), name)


def _without_cdata(match: re.Match[str]) -> str:
    if match["raw"]:
        return re.sub(r"<!\[CDATA\[|\]\]>", "", match.group())
    return escape(match["text"])


def _spell_end_tags(root: _Element) -> None:
    """Write `<a></a>`, not `<a/>`, which readers that take XHTML for HTML do not see the end of."""
    namespace = root.tag.rpartition("}")[0]
    for element in root.iter("*"):
        space, _, tag = element.tag.rpartition("}")
        if space == namespace and tag not in _VOID and not len(element) and not element.text:
            element.text = ""
