"""`templora shelf` on the command line."""

import json
import signal
import subprocess
from pathlib import Path

import pytest
from command import SMALL_JOB, TEMPLORA, run
from texts import FRENCH

from templora_edge.assets import BUNDLED_TRANSLATOR
from templora_edge.cli.shelf_table import summary
from templora_edge.shelf.book import Book, Work
from templora_edge.shelf.shelf import Row, State
from templora_edge.shelf.standing import Standing

QUICK = [*SMALL_JOB, "--no-templora", "-t", 1]


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """Two books and a damaged one."""
    paths = [tmp_path / "un.txt", tmp_path / "deux.txt", tmp_path / "bad.docx"]
    paths[0].write_text(f"{FRENCH[0]}\n", encoding="utf-8")
    paths[1].write_text("\n\n".join(FRENCH[1:3]) + "\n", encoding="utf-8")
    paths[2].write_bytes(b"no archive")
    return paths


@pytest.mark.slow
def test_books_are_done_and_the_one_that_fails_is_named(
    sources: list[Path], tmp_path: Path
) -> None:
    out, report = tmp_path / "new" / "en", tmp_path / "report.json"
    command = ["shelf", *sources, "-O", out, "-sl", "fr", "-tl", "en", "--no-templora", "-t", 1]
    result = run(*command, "--json", "--report", report)
    assert result.returncode == 1, result.stderr
    assert "2 of 3 books done" in result.stderr
    assert f"failed: {sources[2]}: " in result.stderr
    assert f"{sources[2]}: {sources[2]}" not in result.stderr.rpartition("to look at")[2]
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    last = {Path(line["book"]).name: line for line in lines}
    assert {name: line["state"] for name, line in last.items()} == {
        "un.txt": "done", "deux.txt": "done", "bad.docx": "failed"
    }  # fmt: skip
    for source in sources[:2]:
        alone = tmp_path / f"alone-{source.name}"
        again = run("translate", source, "-o", alone, "-sl", "fr", "-tl", "en", "--no-templora")
        assert again.returncode == 0, again.stderr
        assert (out / source.name).read_bytes() == alone.read_bytes()
    books = json.loads(report.read_text())["books"]
    assert [book["job"].get("finished") for book in books] == [True, True, None]
    assert len(books[0]["job"]["processors"]) == 1
    result = run("shelf", *sources[:2], "-O", out, "-sl", "fr", "-tl", "en", "--no-templora")
    assert result.returncode == 0, result.stderr
    assert "2 of 2 books done" in result.stderr


@pytest.mark.slow
def test_ctrl_c_leaves_everything_resumable(tmp_path: Path) -> None:
    source = tmp_path / "un.txt"
    source.write_text("\n\n".join(FRENCH * 4) + "\n", encoding="utf-8")
    command = ["shelf", source, "-O", tmp_path / "en", *QUICK, "--json"]
    with subprocess.Popen(
        [*TEMPLORA, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["share"] > 0:
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert "interrupted; the same command goes on" in errors
    result = run(*command)
    assert result.returncode == 0, result.stderr
    first = json.loads(result.stdout.splitlines()[0])
    assert first["share"] > 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-O", "out", "-sl", "fr"], "-sl, -tl: missing; name both languages"),
        (["-sl", "fr", "-tl", "en"], "-O: missing; name a folder for the results"),
        (["--absorb", "--perplexity", "-O", "out"], "give --absorb or --perplexity, not both"),
        (["--absorb", "-O", "out", "--glossary", "a.csv"], "--glossary: does not go with --absorb"),
        (["--perplexity", "-O", "out", "--temp", "1"], "--temp: does not go with --perplexity"),
    ],
)
def test_flags_that_do_not_go_together(
    flags: list[str], message: str, sources: list[Path], tmp_path: Path
) -> None:
    result = run("shelf", sources[0], *flags, cwd=tmp_path)
    assert result.returncode == 2
    assert message in " ".join(result.stderr.split())


def test_books_of_one_name(sources: list[Path], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "un.txt"
    other.write_text("Il pleut.\n")
    result = run("shelf", sources[0], other, "-O", tmp_path / "en", "-sl", "fr", "-tl", "en")
    assert result.returncode == 1
    assert "both would be written to" in result.stderr


def test_the_summary_says_what_to_look_at(tmp_path: Path) -> None:
    books = [
        Book(Work.TRANSLATE, tmp_path / name, Path("en") / name, BUNDLED_TRANSLATOR)
        for name in ("a.txt", "b.txt", "c.txt", "d.txt")
    ]
    rows = [
        Row(books[0], State.DONE, standing=Standing(1, 50, 1)),
        Row(books[1], State.DONE, standing=Standing(1, 90, 7)),
        Row(books[2], State.DONE, standing=Standing(1, 20, 0)),
        Row(books[3], State.FAILED, reason="damaged"),
    ]
    assert summary(rows, {books[2]: "x86_64 A to aarch64 B"}).splitlines() == [
        "3 of 4 books done",
        "to look at:",
        "  en/b.txt, 7 flagged segments",
        "  en/a.txt, 1 flagged segment",
        "next: templora status en/b.txt lists its flagged segments",
        "c.txt: moved from x86_64 A to aarch64 B; its bytes may differ from those of one machine",
        f"failed: {tmp_path / 'd.txt'}: damaged",
        "next: run the same command again once that is mended; it goes on",
    ]
