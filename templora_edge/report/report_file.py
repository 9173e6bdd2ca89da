"""Reading of reports: JSON in, checked, `Report` out."""

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from templora_edge.errors import ReportError
from templora_edge.report.run import PHASES, Block, Perplexity, Report, TextRun

_EXPECTED: Final = (
    "expected what `templora generate --report` or `templora perplexity --report` writes"
)
_LARGEST: Final = 2**53
"""Largest number that JSON keeps exactly everywhere."""


def read_report(text: str, source: str) -> Report:
    """The report in ``text``.

    Args:
        text: JSON, as `templora generate --report` or `templora perplexity --report` writes it.
        source: name of its file, for messages.

    Raises:
        ReportError: ``text`` is no report, has no blocks, or is of a version that says other
            things about them.
    """
    try:
        content = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{source}: not JSON; {_EXPECTED}") from error
    if not isinstance(content, dict) or not isinstance(content.get("settings"), dict):
        raise ReportError(f"{source}: not a report of a run; {_EXPECTED}")
    whole = _Record(content, source, "", _version(content))
    files = whole.records("files") if "files" in content else [whole]
    texts = [_text_run(one) for one in files]
    if not any(run.blocks for run in texts):
        raise ReportError(f"{source}: has no blocks; {_EXPECTED}")
    return Report(
        tuple(run for run in texts if run.blocks),
        settings=whole.mapping("settings"),
        versions=whole.mapping("versions"),
        model=whole.mapping("model"),
    )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _version(content: Mapping[str, Any]) -> str:
    versions = content.get("versions")
    version = versions.get("templora-edge") if isinstance(versions, dict) else None
    return f" of templora-edge {version}" if isinstance(version, str) else ""


def _text_run(record: "_Record") -> TextRun:
    blocks: list[Block] = []
    for number, one in enumerate(record.records("blocks"), start=1):
        begin = blocks[-1].end if blocks else 0
        blocks.append(_block(one, number, least_begin=begin))
    total = record.record("total") or record
    peak = total.number("peak_rss_bytes") or 0
    return TextRun(
        name=record.text("file") or "",
        before=record.text("before") or "",
        blocks=tuple(blocks),
        perplexity=_perplexity(record),
        seconds=_seconds(total),
        peak_rss_bytes=max(int(peak), *(block.rss_bytes for block in blocks), 0),
        finished=total.flag("finished", default=True),
    )


def _seconds(total: "_Record") -> float | None:
    """Seconds of a run, which may be by phase."""
    if not isinstance(total.content.get("seconds"), dict):
        return total.number("seconds")
    phases = total.record("seconds")
    return sum(phases.number(phase) or 0.0 for phase in phases.content) if phases else None


def _perplexity(record: "_Record") -> Perplexity | None:
    base, templora = record.record("base"), record.record("templora")
    if base is None and templora is None:
        return None
    return Perplexity(
        base.number("ppl") if base else None,
        templora.number("ppl") if templora else None,
        change_percent=record.number("change_percent", least=-100),
        change_percent_se=record.number("change_percent_se"),
    )


def _block(record: "_Record", number: int, *, least_begin: int) -> Block:
    begin = record.number("begin", least=least_begin)
    tokens = record.number("tokens")
    if not tokens:
        record.fail("tokens", "1 or more")
    scored, before = record.number("loss"), record.number("loss_before")
    return Block(
        number,
        begin=least_begin if begin is None else int(begin),
        tokens=int(tokens),
        given=record.flag("given"),
        looped=record.flag("looped"),
        text=record.text("text"),
        base_loss=record.number("base_loss"),
        loss=before if scored is None else scored,
        loss_after=record.number("loss_after"),
        scale=record.number("scale"),
        seconds={phase: record.number(f"{phase}_s") or 0.0 for phase in PHASES},
        rss_bytes=int(record.number("rss_bytes") or 0),
    )


class _Record:
    """An object of the report, whose fields are checked when they are read.

    Fields that are missing or null are None, false or empty.
    """

    def __init__(self, content: Any, source: str, path: str, version: str) -> None:
        self.content, self._source, self._path, self._version = content, source, path, version

    def records(self, key: str) -> list["_Record"]:
        """A list of objects."""
        found = self.content.get(key)
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            self.fail(key, "a list of objects")
        return [
            _Record(one, self._source, f"{self._path}{key}[{index}].", self._version)
            for index, one in enumerate(found)
        ]

    def record(self, key: str) -> "_Record | None":
        """An object."""
        found = self.mapping(key)
        return _Record(found, self._source, f"{self._path}{key}.", self._version) if found else None

    def mapping(self, key: str) -> dict[str, Any]:
        """An object of which all is taken as it is."""
        found = self.content.get(key)
        if found is None:
            return {}
        return found if isinstance(found, dict) else self.fail(key, "an object")

    def number(self, key: str, *, least: float = 0) -> float | None:
        """A number, ``least`` or more."""
        found = self.content.get(key)
        if found is None:
            return None
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        if not is_number or not least <= found <= _LARGEST:
            self.fail(key, f"a number, {least} or more")
        return float(found)

    def flag(self, key: str, *, default: bool = False) -> bool:
        """True or false."""
        found = self.content.get(key)
        if found is None:
            return default
        return found if isinstance(found, bool) else self.fail(key, "true or false")

    def text(self, key: str) -> str | None:
        """A string."""
        found = self.content.get(key)
        return found if found is None or isinstance(found, str) else self.fail(key, "a string")

    def fail(self, key: str, expected: str) -> NoReturn:
        """Raise an error on a field.

        Raises:
            ReportError: always.
        """
        found = json.dumps(self.content.get(key))[:40]
        raise ReportError(
            f"{self._source}: {self._path}{key} is {found}; expected {expected}; "
            f"is it a report{self._version} that this version does not know?"
        )
