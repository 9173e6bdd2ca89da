"""Inline codes: placeholders as elements of XLIFF or TMX, and such elements as placeholders.

Codes that another tool dropped, split or invented are put right when a segment is read.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from lxml import etree
from lxml.etree import _Element

from templora_edge.documents.markup import (
    PLACEHOLDER,
    Node,
    Single,
    is_balanced,
    parse,
    plain,
    with_markup_of,
)
from templora_edge.documents.xml_file import ILLEGAL

CODE_POINT: Final = "x-cp"
"""The type of a TMX placeholder that holds the number of a character that XML cannot express."""

_OWN: Final = re.compile(r"([1-9][0-9]{0,5})(?:\.[0-9]+)?")
"""The number of a placeholder in an id, and which use of it in the unit this is, from 2."""
_SPANS: Final = frozenset(("pc", "g"))
_STARTS: Final = frozenset(("sc", "bx", "bpt"))
_ENDS: Final = frozenset(("ec", "ex", "ept"))
_SINGLES: Final = frozenset(("ph", "x"))
_TRANSPARENT: Final = frozenset(("mrk", "hi"))
_ENDS_WITHOUT_START: Final = frozenset(("end", "close"))


@dataclass(frozen=True, slots=True)
class _Code:
    kind: Literal["open", "close", "single"]
    key: str
    """The same in a source and its translation."""


def add_xliff(element: _Element, text: str, ids: Mapping[int, str]) -> None:
    """Append ``text`` to ``element``, with codes of XLIFF 2; ``ids`` has one for each number."""
    namespace = f"{{{etree.QName(element).namespace}}}"

    def add(parent: _Element, nodes: Sequence[Node]) -> None:
        for node in nodes:
            if isinstance(node, str):
                for piece, code_point in _pieces(node):
                    _append(parent, piece)
                    if code_point:
                        etree.SubElement(parent, f"{namespace}cp", hex=code_point)
                continue
            code = {"id": ids[node.number], "canCopy": "no", "canDelete": "no"}
            if isinstance(node, Single):
                code["disp"] = f"<{node.number}/>"
                etree.SubElement(parent, f"{namespace}ph", code)
            else:
                code |= {"dispStart": f"<{node.number}>", "dispEnd": f"</{node.number}>"}
                add(etree.SubElement(parent, f"{namespace}pc", code), node.children)

    add(element, parse(text) or (plain(text),))


def add_tmx(element: _Element, text: str) -> None:
    """Append ``text`` to ``element``, with codes of TMX."""
    end = 0
    for match in (*PLACEHOLDER.finditer(text), None):
        for piece, code_point in _pieces(text[end : match.start() if match else None]):
            _append(element, piece)
            if code_point:
                etree.SubElement(element, "ph", type=CODE_POINT).text = code_point
        if match is None:
            break
        end, number = match.end(), match[2]
        if match[3]:
            code = etree.SubElement(element, "ph", x=number)
        elif match[1]:
            code = etree.SubElement(element, "ept", i=number)
        else:
            code = etree.SubElement(element, "bpt", i=number, x=number)
        code.text = match.group()


def texts_of(source: _Element, target: _Element | None) -> tuple[str, str | None]:
    """The texts of a source and its translation, with the placeholders of the source.

    They keep the numbers that `add_xliff` and `add_tmx` gave them; codes of other tools get new
    ones. A source whose codes do not end is read without them. An empty translation is None.
    """
    contents = _content(source)
    numbers = _numbers(contents)
    text = _written(contents, numbers)
    if not is_balanced(text):
        text, numbers = plain(text), {}
    translation = "" if target is None else _written(_content(target), numbers)
    if target is None or (plain(text).strip() and not plain(translation).strip()):
        return text, None
    return text, with_markup_of(text, translation)


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Texts that XML can express, each with the code point of the illegal character after it."""
    end = 0
    for match in ILLEGAL.finditer(text):
        yield text[end : match.start()], f"{ord(match.group()):04X}"
        end = match.end()
    yield text[end:], ""


def _append(element: _Element, text: str) -> None:
    if len(element):
        element[-1].tail = (element[-1].tail or "") + text
    else:
        element.text = (element.text or "") + text


def _content(element: _Element) -> list[str | _Code]:
    """Texts and codes of a segment, in order."""
    keys: dict[str, str] = {}
    """What an end refers to -> key of its start."""
    n_codes = 0

    def read(parent: _Element) -> Iterator[str | _Code]:
        nonlocal n_codes
        yield parent.text or ""
        for child in parent:
            name = etree.QName(child).localname if isinstance(child.tag, str) else ""
            n_codes += 1
            key = child.get("x") or child.get("id") or child.get("i") or f"code {n_codes}"
            reference = next(filter(None, map(child.get, ("startRef", "rid", "i", "id"))), key)
            if name == "cp" or child.get("type") == CODE_POINT:
                yield _character(child.get("hex") or child.text or "")
            elif name in _TRANSPARENT:
                yield from read(child)
            elif name in _SPANS:
                yield _Code("open", key)
                yield from read(child)
                yield _Code("close", key)
            elif name in _SINGLES:
                yield _Code("single", key)
            elif name in _ENDS or (name == "it" and child.get("pos") in _ENDS_WITHOUT_START):
                yield _Code("close", keys.get(reference, reference))
            elif name in _STARTS or name == "it":
                keys[reference] = key
                yield _Code("open", key)
            yield child.tail or ""

    return list(read(element))


def _character(code_point: str) -> str:
    """The character with a hexadecimal number; empty if there is none."""
    number = int(code_point, 16) if re.fullmatch("[0-9A-Fa-f]{1,6}", code_point) else -1
    return chr(number) if 0 <= number < 0xD800 or 0xDFFF < number <= 0x10FFFF else ""


def _numbers(contents: Sequence[str | _Code]) -> dict[tuple[bool, str], int]:
    """Numbers for the codes of a source: whether it is single, and its key -> number."""
    codes = [code for code in contents if isinstance(code, _Code) and code.kind != "close"]
    numbers: dict[tuple[bool, str], int] = {}
    for code in codes:
        own = _OWN.fullmatch(code.key)
        if own and int(own[1]) not in numbers.values():
            numbers.setdefault((code.kind == "single", code.key), int(own[1]))
    free = (number for number in range(1, 1_000_000) if number not in set(numbers.values()))
    for code in codes:
        name = code.kind == "single", code.key
        if name not in numbers:
            numbers[name] = next(free)
    return numbers


def _written(contents: Sequence[str | _Code], numbers: Mapping[tuple[bool, str], int]) -> str:
    """The text of ``contents``, without codes that ``numbers`` does not have."""
    text = ""
    for piece in contents:
        if isinstance(piece, str):
            text += piece
        elif (number := numbers.get((piece.kind == "single", piece.key))) is not None:
            slashes = {"open": ("", ""), "close": ("/", ""), "single": ("", "/")}[piece.kind]
            text += f"<{slashes[0]}{number}{slashes[1]}>"
    return text
