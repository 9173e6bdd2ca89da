"""Languages and directions of text that a document names, and those of its translation."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from lxml.etree import _Element

from templora_edge.documents.direction import is_rtl

_ATTRIBUTES: Final = ("lang", "{http://www.w3.org/XML/1998/namespace}lang")
_UNSAID: Final = frozenset(("", "mul", "und"))


def language_of(element: _Element) -> str:
    """The primary subtag that ``element`` itself names; empty if there is none."""
    return primary(next((value for tag in _ATTRIBUTES if (value := element.get(tag))), ""))


def primary(language: str) -> str:
    """The primary subtag of a BCP 47 tag; empty if it names no language, or is no tag."""
    subtag = re.split("[-_]", language.strip())[0].lower()
    is_language = re.fullmatch("[a-z]{2,3}", subtag) and subtag not in _UNSAID
    return subtag if is_language else ""


def is_foreign(element: _Element, languages: frozenset[str]) -> bool:
    """Whether ``element`` names a language that is not one of ``languages``."""
    subtag = language_of(element)
    return bool(subtag) and subtag not in languages


def languages_in(root: _Element, *expected: str) -> frozenset[str]:
    """Primary subtags of what counts as the language of a file.

    These are what its root or its body names, and what is ``expected``: the language that is
    translated from, and the book's. Where neither is known, the language of most of its letters
    counts too, as templates of other languages are common.
    """
    heads = (
        root,
        *root.iterfind("{*}html"),
        *root.iterfind("{*}body"),
        *root.iterfind("*/{*}body"),
    )
    named = {*map(language_of, heads), *map(primary, expected)}
    if not any(map(primary, expected)):
        named.add(_main_language(root))
    return frozenset(named - {""})


def _main_language(root: _Element) -> str:
    letters: Counter[str] = Counter()
    pending = [(root, language_of(root))]
    while pending:
        element, language = pending.pop()
        letters[language] += len((element.text or "").strip())
        for child in element:
            letters[language] += len((child.tail or "").strip())
            if isinstance(child.tag, str):
                pending.append((child, language_of(child) or language))
    return letters.most_common(1)[0][0]


def set_language(root: _Element, language: str, languages: frozenset[str]) -> bool:
    """Name ``language`` wherever one of ``languages`` is named; whether anything has changed.

    Where the direction of text is another one, it is set at the root, and turned inside.
    """
    changed = False
    html = next((one for one in _with_root(root) if _is_html(one)), None)
    turns = is_rtl(language) or any(map(is_rtl, languages))
    here, there = ("rtl", "ltr") if is_rtl(language) else ("ltr", "rtl")
    for element in root.iter("*"):
        foreign = is_foreign(element, languages)
        for tag in _ATTRIBUTES:
            if not foreign and element.get(tag) not in (None, language) and language_of(element):
                element.set(tag, language)
                changed = True
        if not turns or is_rtl(language) == any(map(is_rtl, languages)):
            continue
        named = (element.get("dir") or "").lower()
        if foreign and not named and is_rtl(language_of(element)) != (here == "rtl"):
            element.set("dir", there)
            changed = True
        elif not foreign and (named == there or (element is html and named != here)):
            element.set("dir", here)
            changed = True
    return changed


def _with_root(root: _Element) -> Iterable[_Element]:
    return (root, *root.iterfind("{*}html"))


def _is_html(element: _Element) -> bool:
    return isinstance(element.tag, str) and element.tag.rpartition("}")[2] == "html"
