"""Summaries of jobs, for the end of a run and for `templora status`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from templora_edge.cli.progress import duration

MOST_LINES: Final = 10
"""Flagged segments, and terms, that are named one by one."""
MOST_CHARACTERS: Final = 60
"""Characters of a segment that are shown."""


def run_summary(
    found: Mapping[str, Any],
    out: Path,
    *,
    files: Sequence[Path],
    report: Path | None,
    was_finished: bool,
) -> str:
    """The summary at the end of a run.

    Args:
        found: `Translator.report`.
        out: output file of the translation.
        files: what was written.
        report: file with all of ``found``, if it was asked for.
        was_finished: whether there was nothing left to do.
    """
    lines = [f"{out}: was finished already" if was_finished else _count(found)]
    if edits := found.get("edits"):
        lines.append(
            f"--edited: {counted(edits['changed'], 'segment')} changed, {edits['unchanged']:,} "
            f"unchanged, {edits['unknown']:,} of the file not in the job"
        )
    lines.append(f"wrote {', '.join(map(str, files))}")
    if left := found["segments"] - found["done"]:
        segments = f"{counted(left, 'segment')} {'is' if left == 1 else 'are'}"
        lines.append(f"{out}: a partial translation; {segments} as in the source")
    if found["skipped"]:
        skipped = (f"{name} ({count:,})" for name, count in found["skipped"].items())
        lines.append(f"left as in the source: {', '.join(skipped)}")
    whole_list = "--report FILE writes all" if report is None else f"all are in {report}"
    lines += _flags(found, whole_list)
    missed = [
        f"  {term}: {'once' if count == 1 else f'{count:,} times'}"
        for term, count in found["glossary_violations"].items()
    ]
    if missed:
        lines += ["terms of the glossary that are not used:", *_first(missed, whole_list)]
    return "\n".join([*lines, _next(found, out)])


def status_summary(found: Mapping[str, Any], out: Path) -> str:
    """The text of `templora status`; ``found`` is the status of the job of ``out``."""
    state = "finished" if found["finished"] else "not finished"
    learned = counted(found["learned_blocks"], "block")
    tokens = counted(found["tokens"], "token")
    lines = [f"{_count(found)}: {tokens}, {learned} learned; {state}"]
    return "\n".join([*lines, *_flags(found, "--json lists all"), _next(found, out)])


def text_summary(found: Mapping[str, Any], out: Path) -> str:
    """The text of `templora status` for a generated text; ``found`` is its status."""
    count = f"{found['tokens']:,}"
    if found["n_predict"] is not None:
        count += f" of {found['n_predict']:,}"
    lines = [
        f"{count} tokens written in {duration(found['seconds'])}, "
        f"{counted(found['learned_blocks'], 'block')} learned; "
        + ("finished" if found["finished"] else "not finished")
    ]
    if absorbed := found["absorbed_tokens"]:
        lines.append(f"prompt: {absorbed:,} of {found['prompt_tokens']:,} tokens absorbed")
    if found["ended"]:
        lines.append("the model has ended the text")
    elif found["finished"]:
        lines.append("next: run the same command with a larger -n for more")
    else:
        lines.append(f"next: run the same command to go on with {out}")
    return "\n".join(lines)


def counted(number: int, noun: str) -> str:
    """``number`` and ``noun``, in the plural unless it is 1."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _count(found: Mapping[str, Any]) -> str:
    total = counted(found["segments"], "segment")
    return f"{found['done']:,} of {total} translated in {duration(found['seconds'])}"


def _flags(found: Mapping[str, Any], whole_list: str) -> list[str]:
    """The number of flagged segments by kind, and the places of the first ones."""
    if not found["flagged"]:
        return []
    kinds = ", ".join(f"{flag} ({count:,})" for flag, count in found["flags"].items())
    lines = [
        f"  {_place(row)}: {', '.join(row['flags'])}: {_words(row['source'])}"
        for row in found["flagged_segments"]
    ]
    head = f"{counted(found['flagged'], 'flagged segment')}: {kinds}"
    return [head, *_first(lines, whole_list)]


def _first(lines: Sequence[str], whole_list: str) -> Iterable[str]:
    """The first of ``lines``, and how many more there are and where."""
    n_more = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], *([f"  and {n_more:,} more; {whole_list}"] if n_more > 0 else [])]


def _place(row: Mapping[str, Any]) -> str:
    place = f"{row['place']}, " if row["place"] else ""
    return f"{place}paragraph {row['paragraph'] + 1:,}, segment {row['id']}"


def _words(source: str) -> str:
    """The first words of a segment, without its markup."""
    from templora_edge.documents.markup import plain

    text = plain(source)
    if len(text) <= MOST_CHARACTERS:
        return text
    cut = text[: MOST_CHARACTERS + 1].rpartition(" ")[0]
    return (cut or text[:MOST_CHARACTERS]) + "…"


def _next(found: Mapping[str, Any], out: Path) -> str:
    """The line that names the commands to run next."""
    if found["done"] < found["segments"]:
        return "next: run the same command, without --test, to translate the rest"
    if not found["finished"]:
        return f"next: run the same command, without --test, to finish {out}"
    again = ["add --retry-flagged to translate what is flagged again"] * bool(found["flagged"])
    return "next: " + "; ".join(
        [
            *again,
            f"correct {out} and add --edited {out} to keep and learn your corrections",
            f"templora export {out} FILE.xlf for other tools",
        ]
    )
