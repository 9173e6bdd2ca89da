"""`templora translate` as a user types it, on the bundled translator."""

import hashlib
import json
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import docx
import pytest
from command import LANGUAGES, SMALL_JOB, TEMPLORA, check_failure, run, translate
from disks import disk
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from epub_files import NASTY, chapter, encryption, members, pack
from paths import EXAMPLES
from texts import FRENCH

from templora_edge.assets import BUNDLED_MODEL, BUNDLED_TRANSLATOR
from templora_edge.documents import read_document
from templora_edge.engine import Model
from templora_edge.translation.checks import other_language

PROMPT = (
    "{% for pair in pairs %}French: {{ pair.source }}\nEnglish: {{ pair.translation }}\n"
    "{% endfor %}French: {{ source }}\nEnglish:"
)


def test_a_book_and_all_that_can_be_had_of_it(tmp_path: Path) -> None:
    source = pack(tmp_path / "roman.epub", members(c1=NASTY, c2=chapter(f"<p>{FRENCH[0]}</p>")))
    report, adapter = tmp_path / "report.json", tmp_path / "adapter.gguf"
    glossary = tmp_path / "terms.csv"
    glossary.write_text("marin,jack-tar\n")
    command = [
        *translate(source, "--bilingual", tmp_path / "both.epub", "--report", report),
        *("--adapter-out", adapter, "--glossary", glossary, "--own-learning-rate", 1e-5),
    ]
    result = run(*command)
    assert result.returncode == 0, result.stderr
    assert not result.stdout
    assert "source tokens translated (100 %)" in result.stderr
    assert "\n  marin = jack-tar: once\n" in result.stderr
    results = [tmp_path / "novel.epub", tmp_path / "both.epub", adapter, report]
    assert f"\nwrote {', '.join(map(str, results))}\n" in result.stderr
    found = json.loads(report.read_text())
    n_segments = sum(len(text.splitlines()) for text in read_document(source).paragraphs)
    assert found["done"] == found["segments"] == n_segments
    assert found["glossary_violations"] == {"marin = jack-tar": 1}
    assert found["flagged"] == len(found["flagged_segments"])
    for row in found["flagged_segments"][:10]:
        assert f", segment {row['id']}: {', '.join(row['flags'])}: " in result.stderr
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(tmp_path / "novel.epub") as after:
        assert before.namelist() == after.namelist()
        assert before.read("OEBPS/i.png") == after.read("OEBPS/i.png")
    both = read_document(tmp_path / "both.epub").paragraphs
    assert any(text.startswith(FRENCH[0]) and len(text) > len(FRENCH[0]) for text in both)
    state = json.loads(run("status", tmp_path / "novel.epub", "--json").stdout)
    assert state["finished"] is True
    assert state["done"] == n_segments
    assert state["learned_blocks"] > 0
    # the same command again: it may overwrite all its own files, the adapter too
    written = {path: path.read_bytes() for path in (adapter, tmp_path / "novel.epub")}
    again = run(*command)
    assert again.returncode == 0
    assert f"{tmp_path / 'novel.epub'}: was finished already\n" in again.stderr
    assert "segments translated" not in again.stderr
    assert {path: path.read_bytes() for path in written} == written
    # the next volume starts from the adapter
    following = tmp_path / "next.epub"
    result = run(*translate(source, "--adapter-in", adapter, "--test", 2, out=following))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Le livre\n")
    assert result.stdout.count("\n\n") == 2
    assert f"{following}: a partial translation" in result.stderr
    assert read_document(following).paragraphs[-1] == read_document(source).paragraphs[-1]


def test_the_sample_out_of_the_box(tmp_path: Path) -> None:
    source, out, report = EXAMPLES / "phare.epub", tmp_path / "o.epub", tmp_path / "report.json"
    result = run("translate", source, "-o", out, *LANGUAGES, "--report", report)
    assert result.returncode == 0, result.stderr
    before, after = read_document(source).paragraphs, read_document(out).paragraphs
    assert set(read_document(EXAMPLES / "phare.txt").paragraphs) <= set(before)
    assert len(after) == len(before)
    assert other_language(after, "en") is None
    found = json.loads(report.read_text())
    assert found["learned_blocks"] == 0, "without a rate, translations are not learned"
    assert found["flagged"] < found["segments"] / 4


def test_the_bundled_translator_refuses_other_languages(tmp_path: Path, novel: Path) -> None:
    result = run("translate", novel, "-o", tmp_path / "novel.txt", "-sl", "fr", "-tl", "de")
    check_failure(result, "from French to English only", "-m")


def test_a_model_without_a_chat_template_goes_on_from_examples(tmp_path: Path) -> None:
    source = tmp_path / "text.txt"
    source.write_text(f"{FRENCH[0]}\n\n{FRENCH[1]}\n", encoding="utf-8")
    result = run(*translate(source, "-m", BUNDLED_MODEL))
    assert result.returncode == 0, result.stderr
    written = (tmp_path / "novel.txt").read_text(encoding="utf-8")
    assert written.count("\n\n") == 1
    assert "French:" not in written


def finished(job: Path) -> list[tuple[object, ...]]:
    """Number of segments on disk, even while the job runs."""
    path = job / "job.sqlite"
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        try:
            return db.execute(
                "SELECT id, paragraph, source, translation, flags, attempts, tokens, seconds "
                "FROM segment WHERE translation IS NOT NULL ORDER BY position"
            ).fetchall()
        except sqlite3.OperationalError:  # not made yet
            return []


def digest(path: Path) -> str:
    """A digest of a file's bytes: pytest takes hours to show where those of adapters differ."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_killed_at_ten_random_moments(tmp_path: Path, novel: Path) -> None:
    """The same bytes, no segment lost, none done twice."""
    outputs = [tmp_path / name for name in ("novel.txt", "both.txt", "adapter.gguf")]
    extras = ("--force", "--bilingual", outputs[1], "--adapter-out", outputs[2])
    assert run(*translate(novel, *extras)).returncode == 0
    expected = [digest(path) for path in outputs]
    job = tmp_path / "novel.txt.job"
    whole = finished(job)
    shutil.rmtree(job)
    for path in outputs:
        path.write_text("before")
    dice = random.Random(6)  # noqa: S311
    done: list[tuple[object, ...]] = []
    for count in sorted(dice.choices(range(len(whole)), k=10)):
        process = subprocess.Popen(
            [*TEMPLORA, *map(str, translate(novel, *extras))], stderr=subprocess.DEVNULL
        )
        while len(finished(job)) <= count and process.poll() is None:
            time.sleep(0.01)
        time.sleep(dice.uniform(0, 0.5))  # somewhere in a translation, an update, a swap
        process.kill()
        process.wait()
        now = finished(job)
        assert now[: len(done)] == done, "a segment was done twice"
        assert len(now) > count
        done = now
        if len(done) < len(whole):
            assert [path.read_text() for path in outputs] == ["before"] * 3
    assert run(*translate(novel, *extras)).returncode == 0
    assert [row[:6] for row in finished(job)] == [row[:6] for row in whole]
    assert finished(job)[: len(done)] == done
    assert [digest(path) for path in outputs] == expected
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_ctrl_c_keeps_what_is_done(tmp_path: Path, novel: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*TEMPLORA, *map(str, translate(novel))], stderr=subprocess.PIPE, text=True
    )
    while not finished(tmp_path / "novel.txt.job"):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert not (tmp_path / "novel.txt").exists()
    assert "finished segments are kept" in errors
    state = run("status", tmp_path / "novel.txt").stdout
    assert f" of {len(FRENCH) * 2} segments translated in " in state
    assert "; not finished\n" in state
    assert state.endswith("next: run the same command, without --test, to translate the rest\n")


@pytest.mark.slow
def test_what_a_job_was_begun_with(tmp_path: Path, novel: Path) -> None:
    result = run(*translate(novel, "--test", 1))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{FRENCH[0]}\n")
    novel.write_text(novel.read_text(encoding="utf-8") + "\n\nFin.\n", encoding="utf-8")
    result = run(*translate(novel, "--restart", "--test", 2))
    assert result.returncode == 0, result.stderr
    assert len(finished(tmp_path / "novel.txt.job")) == 2
    plan = json.loads(run(*translate(novel, "--dry-run", "--json")).stdout)
    assert plan["segments"] == len(FRENCH) * 2 + 1 - 2
    with Model(BUNDLED_TRANSLATOR) as model:
        left = [*FRENCH, *FRENCH, "Fin."][2:]
        counts = [len(model.vocab.tokenize(text)) for text in left]
    assert plan["tokens"] == sum(counts)
    assert plan["seconds"] > 0
    check_failure(run("status", tmp_path / "other.txt"), "no job was begun for it")
    (tmp_path / "novel.txt.job" / "job.sqlite").write_bytes(b"not a database" * 100)
    check_failure(run(*translate(novel, "--force")), "damaged", "--restart")
    # with the record of what it wrote
    check_failure(run(*translate(novel, "--restart", "--test", 1)), "novel.txt: exists", "--force")
    result = run(*translate(novel, "--restart", "--test", 1, "--force"))
    assert result.returncode == 0, result.stderr
    assert len(finished(tmp_path / "novel.txt.job")) == 1


def test_flagged_segments_can_be_done_again(tmp_path: Path, novel: Path) -> None:
    novel.write_text("\n\n".join(FRENCH) + "\n", encoding="utf-8")
    template = tmp_path / "prompt.jinja"
    template.write_text(PROMPT)
    cannot_translate = ["-m", BUNDLED_MODEL, "--prompt-template", template]
    assert run(*translate(novel, *cannot_translate)).returncode == 0
    before = {row[0]: json.loads(str(row[4])) for row in finished(tmp_path / "novel.txt.job")}
    flagged = [number for number, flags in before.items() if flags]
    assert flagged, "a model that translates well: an empty test"
    result = run(*translate(novel, *cannot_translate, "--retry-flagged"))
    assert result.returncode == 0, result.stderr
    assert f"{len(flagged)} of {len(flagged)} flagged segments done" in result.stderr
    for row in finished(tmp_path / "novel.txt.job"):
        assert len(json.loads(str(row[4]))) <= len(before[int(str(row[0]))])


def test_a_job_overwrites_what_it_wrote_and_nothing_else(tmp_path: Path, novel: Path) -> None:
    novel.write_text("\n\n".join(FRENCH[:2]) + "\n", encoding="utf-8")
    out, both = tmp_path / "novel.txt", tmp_path / "both.txt"
    command = translate(novel, "--no-templora", "--bilingual", both)
    both.write_text("precious")
    check_failure(run(*command), f"--bilingual {both}: exists", "--force")
    assert run(*command, "--dry-run").returncode == 0
    assert both.read_text() == "precious"
    both.unlink()
    result = run(*command, "--test", 10)  # more than there are
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{FRENCH[0]}\n")
    assert "partial" not in result.stderr
    for _ in range(2):  # the file is its own
        assert run(*command).returncode == 0
    written = out.read_bytes()
    out.write_text("edited by hand")
    check_failure(run(*command), f"-o {out}: was changed", "--force")
    check_failure(run(*command, "--restart"), f"-o {out}: was changed", "--force")
    assert out.read_text() == "edited by hand"
    assert run(*command, "--force").returncode == 0
    assert out.read_bytes() == written
    # a discarded job leaves its record of written files to the next one
    assert run(*command, "--restart", "--test", 1).returncode == 0
    assert run(*command).returncode == 0
    assert out.read_bytes() == written


def is_empty(path: Path) -> None:
    path.write_text("")


def is_prose(path: Path) -> None:
    path.write_text(FRENCH[0])


def is_locked(path: Path) -> None:
    pack(path, members(c1=NASTY) | {"META-INF/encryption.xml": encryption("aes")})


def is_a_bomb(path: Path) -> None:
    pack(path, members(c1=NASTY) | {"a.bin": bytes(1 << 27)})


def escapes(path: Path) -> None:
    pack(path, members(c1=NASTY) | {"../../evil": "x"})


def reads_files(path: Path) -> None:
    entity = '<!DOCTYPE html [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    pack(path, members(c1=entity + chapter("<p>&a;</p>")))


BAD: dict[str, tuple[str, Callable[[Path], None], list[str]]] = {
    "missing": ("a.txt", lambda path: None, ["no such file"]),
    "empty": ("a.txt", is_empty, ["empty"]),
    "another format": ("a.pdf", is_prose, [".pdf", ".epub"]),
    "no EPUB": ("a.epub", is_prose, ["not a zip archive"]),
    "no DOCX": ("a.docx", is_prose, ["not a zip archive"]),
    "no SRT": ("a.srt", is_prose, ["a.srt"]),
    "DRM": ("a.epub", is_locked, ["DRM"]),
    "bomb": ("a.epub", is_a_bomb, ["zip bomb"]),
    "path": ("a.epub", escapes, ["'../../evil'", "out of the archive"]),
    "entity": ("a.epub", reads_files, ["entities"]),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_documents_are_one_line_and_lose_nothing(kind: str, tmp_path: Path) -> None:
    name, make, words = BAD[kind]
    source, out = tmp_path / name, tmp_path / f"novel{Path(name).suffix}"
    make(source)
    out.write_text("precious")
    before = sorted(tmp_path.iterdir())
    check_failure(run(*translate(source, "--force")), f"{source}", *words)
    assert out.read_text() == "precious"
    assert sorted(tmp_path.iterdir()) == before


def test_bad_outputs_and_files_are_one_line(tmp_path: Path, novel: Path) -> None:
    def refused(*others: object) -> subprocess.CompletedProcess[str]:
        return run("translate", novel, *SMALL_JOB, *others)

    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "bad.jinja").write_text("{% for %}")
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\xff")
    out = tmp_path / "novel.txt"
    before = sorted(tmp_path.iterdir())
    check_failure(refused("-o", novel), f"-o {novel}: is the same file as IN {novel}")
    check_failure(refused("-o", tmp_path / "novel.epub"), "expected a .txt file")
    check_failure(refused("-o", tmp_path / "folder.txt"), "is a directory")
    check_failure(refused("-o", tmp_path / "none" / "novel.txt"), "create it first")
    check_failure(refused("-o", "/proc/novel.txt"), "/proc/novel.txt")
    for flag, path in (
        ("--bilingual", tmp_path), ("--report", tmp_path), ("--adapter-out", tmp_path),
        ("--references", tmp_path / "none.tsv"), ("--glossary", tmp_path / "bad.csv"),
        ("--adapter-in", novel), ("-m", novel), ("-m", tmp_path / "none.gguf"),
    ):  # fmt: skip
        check_failure(refused("-o", out, flag, path), str(path))
    bad = tmp_path / "bad.jinja"
    check_failure(refused("-o", out, "--prompt-template", bad), "--prompt-template", "bad.jinja")
    check_failure(refused("-o", out, "--review"), "--review: expected a terminal")
    assert run("translate", novel, "-o", out, "-sl", "fr").returncode == 2
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    with disk(tmp_path / "disk", "8m") as mounted:
        if not mounted:
            pytest.skip("needs the right to mount a file system")
        yield tmp_path / "disk"


@pytest.mark.slow
def test_a_disk_that_fills_up(tmp_path: Path, novel: Path, small_disk: Path) -> None:
    """Wherever the space runs out, the work continues from there once there is some."""
    expected = run(*translate(novel))
    assert expected.returncode == 0
    command = translate(novel, out=small_disk / "novel.txt")
    filler = small_disk / "filler"
    for spare, what in (
        (60_000, "novel.txt.job: cannot be written"),
        (400_000, "free some storage"),
    ):
        filler.write_bytes(b"")
        filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - spare))
        before = finished(small_disk / "novel.txt.job")
        result = run(*command)
        assert result.returncode == 1, "the disk was large enough: an empty test"
        assert not list(small_disk.glob("novel.txt.job/.*"))
        lines = [line for line in result.stderr.splitlines() if "tokens translated" not in line]
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("templora: ")
        assert what in lines[0]
        assert not (small_disk / "novel.txt").exists()
        assert finished(small_disk / "novel.txt.job")[: len(before)] == before
    filler.unlink()
    result = run(*command)
    assert result.returncode == 0, result.stderr
    assert (small_disk / "novel.txt").read_bytes() == (tmp_path / "novel.txt").read_bytes()


@pytest.mark.parametrize(
    ("kind", "text", "kept"),
    [
        (
            "special tokens",
            "Le chat dort.\n\nLe jeton <|endoftext|> termine le texte.\n\nLe chien court.\n",
            ["<|endoftext|>"],
        ),
        (
            "URL, e-mail and variables",
            "Écrivez au gardien à gardien.phare@exemple.fr pour recevoir la clef.\n\n"
            "Le plan se trouve à https://www.exemple.fr/phare/plan et il est gratuit.\n\n"
            "Bonjour {prenom}, votre colis %s est arrivé.\n",
            ["gardien.phare@exemple.fr", "https://www.exemple.fr/phare/plan", "{prenom}", "%s"],
        ),
    ],
)
def test_literals_come_through(kind: str, text: str, kept: list[str], tmp_path: Path) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text(text, encoding="utf-8")
    result = run(*translate(source, out=out))
    assert result.returncode == 0, (kind, result.stderr)
    translated = out.read_text(encoding="utf-8")
    assert [translated.count(literal) for literal in kept] == [1] * len(kept)
    assert len(translated.split("\n\n")) == len(text.split("\n\n"))


def test_tabs_fields_and_comments_of_a_word_document(tmp_path: Path) -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("Nom :\tKerbrat\tCapitaine du vieux bateau")
    document.add_comment(paragraph.runs, text="Ce commentaire est en français.", author="A")
    numbered = document.add_paragraph("Figure ")
    for kind, text in (("begin", ""), ("", " SEQ Figure "), ("separate", ""), ("end", "")):
        run_ = numbered.add_run()._r
        one = OxmlElement("w:fldChar" if kind else "w:instrText")
        if kind:
            one.set(qn("w:fldCharType"), kind)
        one.text = text or None
        run_.append(one)
        if kind == "separate":
            numbered.add_run("7")
    numbered.add_run(" : le phare dans la nuit.")
    cell = document.add_table(1, 1).cell(0, 0)
    cell.text = "Le bateau arrive.\nLa mer est calme."
    source, out = tmp_path / "in.docx", tmp_path / "out.docx"
    document.save(str(source))
    result = run(*translate(source, out=out))
    assert result.returncode == 0, result.stderr
    assert "left as in the source: fields (1)" in result.stderr
    after = docx.Document(str(out))
    first, second = after.paragraphs
    assert first.text.count("\t") == 2
    assert first.text.split("\t")[2] != "Capitaine du vieux bateau"
    assert first.text.split("\t")[2].strip()
    fields = [one.tag.rpartition("}")[2] for one in second._p.iter() if "fld" in one.tag]
    assert fields == ["fldChar"] * 3
    assert "7" in second.text
    assert "le phare" not in second.text
    [comment] = after.comments
    assert comment.text.strip()
    assert "commentaire" not in comment.text
    text = after.tables[0].cell(0, 0).text
    assert text.count("\n") == 1
    assert all(line.strip() for line in text.split("\n"))


def test_verse_and_notes_of_a_book(tmp_path: Path) -> None:
    verse = "Ô mer profonde et noire<br/>\nrends-moi mon seul ami<br/>\nle vent se lève au large"
    notes = (
        'Le chapitre commence<a href="#n1"><sup>1</sup></a> par une tempête'
        '<a href="#n2"><sup>2</sup></a>, et <em>personne</em> ne dort.'
    )
    drop_cap = '<span class="cap">L</span>e vieux gardien regardait la mer.'
    body = f"<p>{verse}</p><p>{notes}</p><p>{drop_cap}</p>"
    source, out = pack(tmp_path / "in.epub", members(c1=chapter(body))), tmp_path / "out.epub"
    result = run(*translate(source, out=out))
    assert result.returncode == 0, result.stderr
    with zipfile.ZipFile(out) as book:
        [text] = [
            book.read(name).decode() for name in book.namelist() if "<sup>" in str(book.read(name))
        ]
    lines, noted, cap = re.findall(r"<p>(.*?)</p>", text, re.DOTALL)
    assert [len(line.strip()) > 3 for line in lines.split("<br/>")] == [True] * 3
    assert re.findall(r"<sup>(\d)</sup>", noted) == ["1", "2"]
    assert not noted.endswith("</sup></a><a")
    assert re.search(r"<em>[^<]*\w[^<]*</em>", noted)
    assert re.match(r'\W*<span class="cap">[A-Z]</span>[a-z ]', cap), cap


def test_a_language_that_seems_to_be_another_is_a_warning(tmp_path: Path) -> None:
    source, out = tmp_path / "names.txt", tmp_path / "out.txt"
    names = "Jean-Pierre Kerbrat, Saint-Malo; Anne Le Goff, Brest; Yves Tanguy, Quimper; Marie "
    source.write_text(f"{names}Dupont, Paris; Paul Martin, Lyon.\n\n" * 8, encoding="utf-8")
    result = run(*translate(source, out=out))
    assert result.returncode == 0, result.stderr
    assert "warning" in result.stderr
    assert "seems to be in another language (lb) than -sl fr" in result.stderr
    assert out.is_file()
