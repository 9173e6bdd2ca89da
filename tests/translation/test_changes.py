"""What a user changes between two runs of `templora translate`, and OUT before it is complete."""

import json
import os
import subprocess
import time
from pathlib import Path

from command import SMALL_JOB, TEMPLORA, check_failure, run, translate
from texts import FRENCH

from templora_edge.documents import read_document
from templora_edge.errors import JobError
from templora_edge.translation.store.segment_row import SegmentRow
from templora_edge.translation.store.store import Store

PLAIN = ["--own-learning-rate", 0]
"""Nothing is learned, in addition to `SMALL_JOB`."""
CHANGED = [
    FRENCH[0], "La nuit tombait sur le port.", *FRENCH[2:5], "Elle courut vers la maison.",
    *FRENCH[6:], FRENCH[1],
]  # fmt: skip
"""One paragraph inserted, one edited, one moved to the end."""
NEW = {CHANGED[1], CHANGED[5]}


def write(path: Path, paragraphs: list[str]) -> Path:
    path.write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")
    return path


def segments(out: Path) -> list[SegmentRow]:
    """The segments of the job of ``out`` as they are on disk, even while it runs."""
    folder = out.with_name(f"{out.name}.job")
    if not (folder / "job.sqlite").is_file():
        return []
    try:
        with Store(folder, read_only=True) as store:
            return store.segments() if store.settings else []
    except JobError:  # its tables are not made yet
        return []


def started(command: list[object], out: Path, n_done: int) -> subprocess.Popen[str]:
    """A process that runs ``command`` and has ``n_done`` segments of ``out`` done."""
    process = subprocess.Popen(
        [*TEMPLORA, *map(str, command)], stderr=subprocess.PIPE, text=True, env=os.environ
    )
    while sum(row.translation is not None for row in segments(out)) < n_done:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


def texts(path: Path) -> list[str]:
    return list(read_document(path).paragraphs)


def test_only_what_changed_is_translated_again(tmp_path: Path) -> None:
    source, out = write(tmp_path / "roman.txt", FRENCH), tmp_path / "novel.txt"
    command = translate(source, *PLAIN, out=out)
    assert run(*command).returncode == 0
    before = {row.source: row for row in segments(out)}
    english = texts(out)
    write(source, CHANGED)
    result = run(*command)
    assert result.returncode == 0, result.stderr
    assert f"{source}: 2 of 9 segments are new or changed; 7 are kept" in result.stderr
    rows = segments(out)
    assert [row.source for row in rows] == CHANGED
    for row in rows:
        kept = before.get(row.source)
        if row.source in NEW:
            assert kept is None
            assert row.id > len(FRENCH)
        else:
            assert kept is not None
            assert (row.id, row.translation, row.seconds) == (
                kept.id, kept.translation, kept.seconds,
            )  # fmt: skip
    assert texts(out)[-1] == english[1]
    assert [texts(out)[0], *texts(out)[2:5]] == [english[0], *english[2:5]]
    # nothing is new: the document is written again all the same
    write(source, CHANGED[:-1])
    result = run(*command)
    assert result.returncode == 0, result.stderr
    assert "0 of 8 segments are new or changed; 8 are kept" in result.stderr
    assert len(texts(out)) == 8


def test_a_change_beyond_what_is_done_gives_the_bytes_of_a_run_from_scratch(tmp_path: Path) -> None:
    """Learning from its own translations, and killed again after the change."""
    first, after = FRENCH[:4], [*FRENCH[5:], "La nuit tombait sur le port.", FRENCH[4]]
    source = write(tmp_path / "roman.txt", [*first, *after])
    scratch = tmp_path / "scratch.txt"
    assert run(*translate(source, out=scratch)).returncode == 0
    out = tmp_path / "novel.txt"
    command = translate(source, out=out)
    write(source, FRENCH)
    process = started(translate(source, "--test", 2, out=out), out, 1)
    process.kill()
    process.communicate()
    write(source, [*first, *after])
    process = started(command, out, 5)
    process.kill()
    process.communicate()
    done = [row for row in segments(out) if row.translation is not None]
    result = run(*command)
    assert result.returncode == 0, result.stderr
    seconds = [row.seconds for row in segments(out)]
    assert seconds[: len(done)] == [row.seconds for row in done], "translated twice"
    assert out.read_bytes() == scratch.read_bytes()


def test_settings_that_shape_what_is_to_come_are_taken_up(tmp_path: Path) -> None:
    source, out = write(tmp_path / "roman.txt", FRENCH), tmp_path / "novel.txt"
    glossary, report = tmp_path / "terms.csv", tmp_path / "report.json"
    glossary.write_text("marin,jack-tar\n")
    assert run(*translate(source, "--test", 1, out=out)).returncode == 0
    later = ["--temp", 0.1, "-b", 64, "--glossary", glossary, "--test", 2]
    result = run(*translate(source, "--report", report, *later, out=out))
    assert result.returncode == 0, result.stderr
    changed = "sampling, glossary, n_batch changed; the segments to come follow"
    assert f"novel.txt: {changed}" in result.stderr
    assert json.loads(report.read_text())["glossary_violations"] == {"marin = jack-tar": 1}
    # nothing was learned yet
    result = run(*translate(source, *later, "--rank", 8, out=out))
    assert result.returncode == 0, result.stderr
    assert "novel.txt: rank, alpha changed; the segments to come follow" in result.stderr
    template = tmp_path / "prompt.jinja"
    template.write_text("{{ source }} =>")
    result = run(*translate(source, "-tl", "de", "--prompt-template", template, out=out))
    check_failure(result, "was begun with another languages;", "--restart")
    assert run(*translate(source, *later[:-2], "--test", 6, "--rank", 8, out=out)).returncode == 0
    with Store(out.with_name("novel.txt.job"), read_only=True) as store:
        assert store.learned.blocks > 0
    check_failure(
        run(*translate(source, *later, "--rank", 4, out=out)),
        *("novel.txt: was begun with another rank", "--restart"),
    )


def test_a_partial_document_at_any_time(tmp_path: Path) -> None:
    source, out, both = (tmp_path / name for name in ("roman.txt", "novel.txt", "both.txt"))
    write(source, FRENCH * 3)
    command = translate(source, "--bilingual", both, out=out)
    check_failure(run(*command, "--partial"), f"{out}: no job was begun for it")
    check_failure(run(*command, "--partial", "--test", 1), "--partial", "leave out --test")
    result = run(*command, "--test", 2)
    assert result.returncode == 0, result.stderr
    assert f"{out}: a partial translation; 22 segments are as in the source" in result.stderr
    assert texts(out)[2:] == (FRENCH * 3)[2:]
    assert texts(out)[0] not in FRENCH
    process = started(command, out, 4)
    result = run(*command, "--partial")  # while the other one works
    assert result.returncode == 0, result.stderr
    assert f"{out}: a partial translation" in result.stderr
    assert texts(out)[3] not in FRENCH
    assert texts(out)[-1] == FRENCH[-1]
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors  # what the other wrote is its job's own
    assert not set(texts(out)) & set(FRENCH)
    whole = out.read_bytes()
    assert run(*command, "--partial").returncode == 0
    assert out.read_bytes() == whole
    write(source, CHANGED)
    check_failure(run(*command, "--partial"), f"{source}: was changed since", "without --partial")
    assert out.read_bytes() == whole


def test_what_a_person_corrected_is_never_overwritten(tmp_path: Path) -> None:
    source, out, both = (tmp_path / name for name in ("roman.txt", "novel.txt", "both.txt"))
    write(source, FRENCH)
    command = translate(source, "--bilingual", both, out=out)
    result = run(*command, "--test", 1)
    assert result.returncode == 0, result.stderr
    partial = out.read_bytes()
    out.write_text("a corrected part")
    for again in ([], ["--partial"], ["--test", 2], ["--restart"]):
        check_failure(run(*command, *again), f"-o {out}: was changed", f"--edited {out}", "--force")
        assert out.read_text() == "a corrected part"
    out.write_bytes(partial)
    # corrected while the job works on the rest
    process = started(command, out, 2)
    out.write_text("corrected meanwhile")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"-o {out}: was changed" in errors
    assert out.read_text() == "corrected meanwhile"
    out.unlink()
    assert run(*command).returncode == 0
    for path, flag in ((out, "-o"), (both, "--bilingual")):
        written = path.read_bytes()
        path.write_text("corrected by hand")
        reason = "was changed" if path == out else "exists"
        check_failure(run(*command), f"{flag} {path}: {reason}", "--force")
        assert path.read_text() == "corrected by hand"
        path.write_bytes(written)
    assert run(*command).returncode == 0


def test_a_document_that_is_only_partly_translated_keeps_the_rest(tmp_path: Path) -> None:
    """Also within a paragraph, and its markup."""
    source, out = tmp_path / "roman.md", tmp_path / "novel.md"
    source.write_text(f"# {FRENCH[0]}\n\n* *{FRENCH[1]}*\n* {FRENCH[2]} `code`\n", encoding="utf-8")
    result = run("translate", source, "-o", out, *SMALL_JOB, *PLAIN, "--test", 1)
    assert result.returncode == 0, result.stderr
    assert (
        out.read_text(encoding="utf-8").splitlines()[1:]
        == (source.read_text(encoding="utf-8").splitlines()[1:])
    )
