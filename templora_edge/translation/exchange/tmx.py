"""Translation Memory eXchange 1.4: a unit for each translated segment."""

from pathlib import Path
from typing import Final

from lxml import etree
from lxml.etree import _Element

from templora_edge import __version__
from templora_edge.documents.xml_file import ILLEGAL
from templora_edge.errors import DocumentError, listed
from templora_edge.translation.exchange.inline import add_tmx, texts_of
from templora_edge.translation.exchange.language_match import nearest
from templora_edge.translation.exchange.segment import (
    ExchangedJob,
    ExchangedSegment,
    State,
)
from templora_edge.translation.exchange.xml_tree import XML, read_tree, write_tree

DOCTYPE: Final = '<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n'
FLAGS: Final = "x-flags"
"""The property that lists the flags of a segment."""


def write_tmx(path: Path, job: ExchangedJob) -> None:
    """Write the translated segments of a job, each with its id.

    Raises:
        OSError: ``path`` cannot be written.
    """
    root = etree.Element("tmx", version="1.4")
    header = etree.SubElement(
        root,
        "header",
        {
            "creationtool": "templora",
            "creationtoolversion": __version__,
            "segtype": "sentence",
            "o-tmf": "templora",
            "adminlang": "en",
            "srclang": job.source_language,
            "datatype": "xml",
        },
    )
    etree.SubElement(header, "prop", type="x-original").text = ILLEGAL.sub("", job.original)
    body = etree.SubElement(root, "body")
    for row in job.rows:
        if row.translation is None:
            continue
        unit = etree.SubElement(body, "tu", tuid=f"s{row.id}")
        etree.SubElement(unit, "prop", type="x-origin").text = row.origin
        if row.flags:
            etree.SubElement(unit, "prop", type=FLAGS).text = ", ".join(row.flags)
        for language, text in (
            (job.source_language, row.source),
            (job.target_language, row.translation),
        ):
            variant = etree.SubElement(unit, "tuv", {f"{XML}lang": language})
            add_tmx(etree.SubElement(variant, "seg"), text)
    write_tree(path, root, texts=("seg", "prop"), doctype=DOCTYPE)


def read_tmx(
    path: Path, flag: str, source_language: str, target_language: str
) -> list[ExchangedSegment]:
    """Read the units that have both languages, in order.

    Raises:
        DocumentError: the file cannot be read, or is no TMX with these languages.
    """
    root = read_tree(path, flag, "tmx")
    segments = []
    found: set[str] = set()
    for unit in root.iter("{*}tu"):
        variants = {_language(variant): variant for variant in unit.iter("{*}tuv")}
        found.update(variants)
        source = variants.get(nearest(source_language, variants) or "")
        target = variants.get(nearest(target_language, variants) or "")
        if source is None or target is None or source is target:
            continue
        source_text, target_text = _text(source), _text(target)
        if source_text is not None and target_text is not None:
            flagged = any(prop.get("type") == FLAGS for prop in unit.iter("{*}prop"))
            state = State.INITIAL if flagged else None
            texts = texts_of(source_text, target_text)
            segments.append(ExchangedSegment(unit.get("tuid"), *texts, state))
    if not segments:
        languages = listed(sorted(filter(None, found))) or "no unit"
        raise DocumentError(
            f"{flag} {path}: {languages}; expected units in {source_language} and {target_language}"
        )
    return segments


def _language(variant: _Element) -> str:
    return variant.get(f"{XML}lang") or variant.get("lang") or ""


def _text(variant: _Element) -> _Element | None:
    return variant.find("{*}seg")
