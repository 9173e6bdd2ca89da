"""XLIFF 2.1 (OASIS): written with a unit for each paragraph; read as 2.0, 2.1 and 1.2."""

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

from lxml import etree
from lxml.etree import _Element

from templora_edge.documents.markup import PLACEHOLDER
from templora_edge.documents.xml_file import ILLEGAL
from templora_edge.errors import DocumentError
from templora_edge.translation.exchange.inline import add_xliff, texts_of
from templora_edge.translation.exchange.language_match import matches
from templora_edge.translation.exchange.segment import (
    ExchangedJob,
    ExchangedSegment,
    State,
    state_of,
)
from templora_edge.translation.exchange.xml_tree import XML, local_name, read_tree, write_tree

NAMESPACE: Final = "urn:oasis:names:tc:xliff:document:2.0"
_OLD_STATES: Final = {
    "final": State.FINAL,
    "signed-off": State.FINAL,
    "translated": State.TRANSLATED,
    "new": State.INITIAL,
    "needs-translation": State.INITIAL,
    "needs-adaptation": State.INITIAL,
    "needs-l10n": State.INITIAL,
    "needs-review-translation": State.TRANSLATED,
}


def write_xliff(path: Path, job: ExchangedJob) -> None:
    """Write a job: segments that are not translated yet have no target.

    Raises:
        OSError: ``path`` cannot be written.
    """
    root = etree.Element(
        f"{{{NAMESPACE}}}xliff",
        {
            "version": "2.1",
            "srcLang": job.source_language,
            "trgLang": job.target_language,
            f"{XML}space": "preserve",
        },
        nsmap={None: NAMESPACE},  # type: ignore[dict-item]
    )
    original = ILLEGAL.sub("", job.original)
    # segments are known by their ids again, so none may be cut or joined
    file = _add(root, "file", id="f1", original=original, canResegment="no")
    for paragraph, rows in groupby(job.rows, key=lambda row: row.paragraph):
        unit = _add(file, "unit", id=f"u{paragraph + 1}")
        segments = list(rows)
        flagged = [row for row in segments if row.flags]
        if flagged:
            notes = _add(unit, "notes")
            for row in flagged:
                note = _add(notes, "note", category="flags", appliesTo="target")
                note.text = f"s{row.id}: {', '.join(row.flags)}"
        n_uses: Counter[int] = Counter()
        for row in segments:
            segment = _add(unit, "segment", id=f"s{row.id}", state=state_of(row))
            ids = _ids(row.source, n_uses)
            add_xliff(_add(segment, "source"), row.source, ids)
            if row.translation is not None:
                add_xliff(_add(segment, "target"), row.translation, ids)
    write_tree(path, root, texts=("source", "target", "note"))


def read_xliff(
    path: Path, flag: str, source_language: str, target_language: str
) -> list[ExchangedSegment]:
    """Read all segments in order, also those without a translation.

    Raises:
        DocumentError: the file cannot be read, or is no XLIFF between these languages.
    """
    root = read_tree(path, flag, "xliff")
    files = [file for file in root if local_name(file) == "file"]
    found: list[str] = []
    segments: list[ExchangedSegment] = []
    for file in files:
        languages = (
            root.get("srcLang") or file.get("source-language") or "",
            root.get("trgLang") or file.get("target-language"),
        )
        if matches(languages[0], source_language) and (
            languages[1] is None or matches(languages[1], target_language)
        ):
            segments += _segments(file)
        else:
            found.append(f"{languages[0]} to {languages[1]}")
    if not segments:
        raise DocumentError(
            f"{flag} {path}: {found[0] if found else 'no segment'}; expected segments from "
            f"{source_language} to {target_language}"
        )
    return segments


def _add(parent: _Element, name: str, **attributes: str) -> _Element:
    return etree.SubElement(parent, f"{{{NAMESPACE}}}{name}", attributes)


def _ids(source: str, n_uses: Counter[int]) -> dict[int, str]:
    """Ids for the placeholders of a segment: a unit may have each but once.

    The number of a span that goes through several segments has another suffix in each.
    """
    ids = {}
    for number in dict.fromkeys(int(match[2]) for match in PLACEHOLDER.finditer(source)):
        n_uses[number] += 1
        ids[number] = f"{number}.{n_uses[number]}" if n_uses[number] > 1 else str(number)
    return ids


def _segments(file: _Element) -> Iterator[ExchangedSegment]:
    for element in file.iter("{*}segment", "{*}trans-unit"):
        if local_name(element) == "trans-unit":
            yield from _old_segments(element)
            continue
        source, target = element.find("{*}source"), element.find("{*}target")
        if source is not None:
            state = element.get("state")
            known = State(state) if state in tuple(State) else None
            yield _segment(element.get("id"), source, target, known)


def _old_segments(unit: _Element) -> Iterator[ExchangedSegment]:
    """The segments of a unit of XLIFF 1.2, which are marks in it if there are several."""
    source, target = unit.find("{*}source"), unit.find("{*}target")
    if source is None:
        return
    state = State.FINAL if unit.get("approved") == "yes" else None
    if target is not None and state is None:
        state = _OLD_STATES.get(target.get("state", ""))
    cut = unit.find("{*}seg-source")
    marks = [] if cut is None else _marks(cut)
    if not marks:
        yield _segment(unit.get("id"), source, target, state)
        return
    targets = {} if target is None else {mark.get("mid"): mark for mark in _marks(target)}
    for mark in marks:
        yield _segment(mark.get("mid"), mark, targets.get(mark.get("mid")), state)


def _marks(element: _Element) -> list[_Element]:
    return [mark for mark in element.iter("{*}mrk") if mark.get("mtype") == "seg"]


def _segment(
    name: str | None, source: _Element, target: _Element | None, state: State | None
) -> ExchangedSegment:
    texts = texts_of(source, target)
    if not _is_preserved(source):
        texts = " ".join(texts[0].split()), texts[1] and " ".join(texts[1].split())
    return ExchangedSegment(name, *texts, state)


def _is_preserved(element: _Element) -> bool:
    """Whether white space in ``element`` means something."""
    around: _Element | None = element
    while around is not None:
        space = around.get(f"{XML}space")
        if space is not None:
            return space == "preserve"
        around = around.getparent()
    return False
