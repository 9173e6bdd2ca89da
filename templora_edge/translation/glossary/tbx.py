"""TermBase eXchange (ISO 30042): glossaries in XML, read with lxml."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lxml import etree

from templora_edge.errors import DocumentError
from templora_edge.translation.prompt import Pair

_XML_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"


def read_tbx(path: Path, source_language: str, target_language: str) -> list[Pair]:
    """Read the terms that have both languages, each with its first translation.

    Raises:
        OSError: the file cannot be opened.
        DocumentError: the file is not well-formed XML.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.parse(str(path), parser).getroot()
    except etree.XMLSyntaxError as error:
        raise DocumentError(f"--glossary {path}: cannot be read ({error})") from error
    terms = []
    for entry in _named(root, ("termEntry", "conceptEntry")):
        by_language: dict[str, list[str]] = {}
        for section in _named(entry, ("langSet", "langSec")):
            language = section.get(_XML_LANG, "").lower()
            by_language[language] = [
                "".join(str(text) for text in term.itertext()).strip()
                for term in _named(section, ("term",))
            ]
        sources = _of_language(by_language, source_language)
        targets = _of_language(by_language, target_language)
        terms += [Pair(source, targets[0]) for source in sources if targets]
    return terms


def _named(element: etree._Element, names: Sequence[str]) -> list[etree._Element]:
    return [
        child
        for child in element.iter()
        if isinstance(child.tag, str) and etree.QName(child).localname in names
    ]


def _of_language(by_language: dict[str, list[str]], code: str) -> list[str]:
    """Terms in the language ``code``, or else in a variety of it."""
    code = code.lower()
    main = code.partition("-")[0]
    for language, terms in sorted(by_language.items(), key=lambda item: item[0] != code):
        if language == code or language.partition("-")[0] == main:
            return terms
    return []
