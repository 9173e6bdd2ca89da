"""What is said at the end of a translation, and by `templora status`."""

import json
from pathlib import Path
from typing import Any

import pytest
from command import LANGUAGES, run

from templora_edge.cli.summary import run_summary, status_summary

OUT = Path("novel.epub")
NEXT = (
    "next: {}correct novel.epub and add --edited novel.epub to keep and learn your corrections; "
    "templora export novel.epub FILE.xlf for other tools"
)


def flagged(number: int, *flags: str, place: str = "") -> dict[str, Any]:
    source = "Le <1>vieux</1> marin regardait la mer, qui était grise, et les bateaux du port."
    return {"id": number, "paragraph": number - 1, "place": place, "source": source, "flags": flags}


def found(n_segments: int, *rows: dict[str, Any], **others: Any) -> dict[str, Any]:
    flags: dict[str, int] = {}
    for row in rows:
        for flag in row["flags"]:
            flags[flag] = flags.get(flag, 0) + 1
    return {
        "segments": n_segments, "done": n_segments, "finished": True, "seconds": 754.2,
        "flagged": len(rows), "flags": flags, "flagged_segments": [*rows], "learned_blocks": 1,
        "tokens": 1, "skipped": {}, "glossary_violations": {},
    } | others  # fmt: skip


def of_run(state: dict[str, Any], **others: Any) -> list[str]:
    given: dict[str, Any] = {"files": [OUT], "report": None, "was_finished": False} | others
    return run_summary(state, OUT, **given).splitlines()


def test_nothing_flagged() -> None:
    assert of_run(found(1)) == [
        "1 of 1 segment translated in 12:34", "wrote novel.epub", NEXT.format("")
    ]  # fmt: skip


def test_everything_that_there_is_to_say() -> None:
    rows = [flagged(1, "empty", "preamble", place="c1.xhtml, Chapitre II"), flagged(1200, "empty")]
    report = found(2000, *rows, skipped={"fields": 1}, glossary_violations={"a = b": 1, "c = d": 2})
    files = [OUT, Path("both.epub")]
    assert of_run(report, files=files, report=Path("r.json")) == [
        "2,000 of 2,000 segments translated in 12:34",
        "wrote novel.epub, both.epub",
        "left as in the source: fields (1)",
        "2 flagged segments: empty (2), preamble (1)",
        "  c1.xhtml, Chapitre II, paragraph 1, segment 1: empty, preamble: Le vieux marin "
        "regardait la mer, qui était grise, et les…",
        "  paragraph 1,200, segment 1200: empty: Le vieux marin regardait la mer, qui était grise, "
        "et les…",
        "terms of the glossary that are not used:",
        "  a = b: once",
        "  c = d: 2 times",
        NEXT.format("add --retry-flagged to translate what is flagged again; "),
    ]


@pytest.mark.parametrize(
    ("report", "where"),
    [(None, "--report FILE writes all"), (Path("r.json"), "all are in r.json")],
)
def test_many_flags_stay_readable(report: Path | None, where: str) -> None:
    rows = [flagged(n, "empty" if n % 2 else "lost markup") for n in range(1, 2001)]
    lines = of_run(found(3000, *rows), report=report)
    assert len(lines) == 15
    assert lines[2] == "2,000 flagged segments: empty (1,000), lost markup (1,000)"
    assert lines[3].startswith("  paragraph 1, segment 1: empty: Le vieux")
    assert lines[13] == f"  and 1,990 more; {where}"
    assert all(len(line) < 120 for line in lines[:-1])


def test_a_finished_translation_did_not_work() -> None:
    first, second, *_ = of_run(found(33), was_finished=True)
    assert (first, second) == ("novel.epub: was finished already", "wrote novel.epub")


def test_a_part() -> None:
    edits = {"changed": 1, "unchanged": 2000, "unknown": 0}
    report = found(1001, done=1000, finished=False, edits=edits)
    assert of_run(report) == [
        "1,000 of 1,001 segments translated in 12:34",
        "--edited: 1 segment changed, 2,000 unchanged, 0 of the file not in the job",
        "wrote novel.epub",
        "novel.epub: a partial translation; 1 segment is as in the source",
        "next: run the same command, without --test, to translate the rest",
    ]


def test_a_status_says_the_same() -> None:
    rows = [flagged(n, "empty") for n in range(1, 13)]
    lines = status_summary(found(33, *rows), OUT).splitlines()
    assert lines[0] == "33 of 33 segments translated in 12:34: 1 token, 1 block learned; finished"
    assert lines[1] == "12 flagged segments: empty (12)"
    assert lines[12] == "  and 2 more; --json lists all"
    assert lines[13:] == [NEXT.format("add --retry-flagged to translate what is flagged again; ")]
    begun = found(33, done=1, finished=False, tokens=2000, learned_blocks=0)
    assert status_summary(begun, OUT).splitlines() == [
        "1 of 33 segments translated in 12:34: 2,000 tokens, 0 blocks learned; not finished",
        "next: run the same command, without --test, to translate the rest",
    ]
    unwritten = status_summary(found(33, finished=False), OUT)
    assert unwritten.endswith("next: run the same command, without --test, to finish novel.epub")


def test_places_of_subtitles(tmp_path: Path) -> None:
    source, out = tmp_path / "a.srt", tmp_path / "b.srt"
    cue = "{0}\n00:00:0{0},000 --> 00:00:0{0},900\n{1}\n\n"
    texts = ["Il pleut.", "♪", "Le code 4821 ouvre la porte 17 du coffre 93, dit-il le 5 mai 1866."]
    source.write_text("".join(cue.format(n, text) for n, text in enumerate(texts, 1)))
    quick = [*LANGUAGES, "--no-templora", "-c", "256", "--block", "64"]
    result = run("translate", source, "-o", out, *quick)
    assert result.returncode == 0, result.stderr
    state = json.loads(run("status", out, "--json").stdout)
    assert state["flagged_segments"], "translated well: an empty test"
    assert {row["place"] for row in state["flagged_segments"]} <= {"cue 1", "cue 3"}
    for row in state["flagged_segments"]:
        line = f"  {row['place']}, paragraph {row['paragraph'] + 1}, segment {row['id']}: "
        assert line in result.stderr
        assert line in run("status", out).stdout
