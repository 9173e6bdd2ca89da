"""`templora export` and `translate --edited` as a user types them, on the bundled translator."""

import json
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import docx
import pytest
from command import LANGUAGES, check_failure, run
from lxml import etree
from texts import FRENCH
from warm import Forked

from templora_edge.assets import BUNDLED_TRANSLATOR
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import Options, TextKind
from templora_edge.session import TempLora
from templora_edge.translation.exchange import read_exchange
from templora_edge.translation.pair_loop import pair_loop
from templora_edge.translation.prompt import Pair, own_prompt

KILLED = Forked(str(Path(__file__).parents[1] / "killed.py"))
NAMESPACES = {"x": "urn:oasis:names:tc:xliff:document:2.0"}
N_TIMES = 6
QUARTER, N_EDITS = 12, 10
GIVEN = ["--learning-rate", 1e-3, "--rank", 4, "-c", 256, "--block", 32]


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A text of 48 paragraphs in French."""
    path = tmp_path / "roman.txt"
    texts = [text.replace("vieux", f"vieux n° {i}") for i in range(N_TIMES) for text in FRENCH]
    path.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    return path


def translate(source: Path, *others: object) -> list[object]:
    out = source.with_name(f"novel{source.suffix}")
    return ["translate", source, "-o", out, *LANGUAGES, *GIVEN, *others]


def corrected(text: str) -> str:
    return f"Corrected: {text.swapcase()}"


def edit_targets(path: Path, n_edits: int) -> None:
    """As a tool would: the first targets of an XLIFF."""
    tree = etree.parse(path)
    for target in tree.findall(".//x:target", NAMESPACES)[:n_edits]:
        target.text = corrected(str(target.text))
    tree.write(path, encoding="utf-8", xml_declaration=True)


def rows(out: Path) -> list[tuple[str, str, str, int]]:
    with closing(sqlite3.connect(out.with_name(f"{out.name}.job") / "job.sqlite")) as db:
        return db.execute(
            "SELECT source, translation, origin, learned FROM segment ORDER BY position"
        ).fetchall()


def nll(pairs: Sequence[Pair], adapter: Path | None) -> float:
    """Mean NLL of translations in nats a token, each asked for on its own."""
    options = Options().changed(adapter=adapter, n_ctx=256)
    prompt = own_prompt(GgufFile(BUNDLED_TRANSLATOR), None, "fr", "en")
    with TempLora(BUNDLED_TRANSLATOR, options, text=TextKind.TRANSLATION) as session:
        loop = pair_loop(session, prompt, "fr", "en")
        scores: list[float] = []
        for pair in pairs:
            loop.begin_block(())
            loop.ask(pair.source, ())
            scores += loop.score(pair.translation)
    return sum(scores) / len(scores)


def test_edits_in_xliff_are_taken_and_learned_and_the_rest_goes_on(
    tmp_path: Path, book: Path
) -> None:
    out, xliff = tmp_path / "novel.txt", tmp_path / "novel.xlf"
    adapter = tmp_path / "adapter.gguf"
    assert run(*translate(book, "--test", QUARTER)).returncode == 0
    result = run("export", out, xliff)
    assert result.returncode == 0, result.stderr
    assert f"{QUARTER} of {8 * N_TIMES} segments translated" in result.stderr
    before = rows(out)
    edit_targets(xliff, N_EDITS)
    result = run(*translate(book, "--edited", xliff, "--adapter-out", adapter))
    assert result.returncode == 0, result.stderr
    found = f"--edited: {N_EDITS} segments changed, {QUARTER - N_EDITS} unchanged"
    assert f"{found}, 0 of the file not in the job" in result.stderr
    expected = [corrected(text) for _, text, _, _ in before[:N_EDITS]]
    after = rows(out)
    assert [text for _, text, _, _ in after[:N_EDITS]] == expected
    origins = ["edit"] * N_EDITS + ["model"] * (8 * N_TIMES - N_EDITS)
    assert [origin for _, _, origin, _ in after] == origins
    written = out.read_text(encoding="utf-8").split("\n\n")
    assert [text.strip() for text in written[:N_EDITS]] == expected
    assert len(written) == 8 * N_TIMES
    pairs = [Pair(source, text) for source, text, _, _ in after[:N_EDITS]]
    assert nll(pairs, adapter) < 0.95 * nll(pairs, None), "the adapter learned them"
    # the same command again has nothing to do
    state = json.loads(run("status", out, "--json").stdout)
    assert state["learned_blocks"] > 0
    bytes_before = out.read_bytes()
    result = run(*translate(book, "--edited", xliff, "--adapter-out", adapter))
    assert result.returncode == 0, result.stderr
    assert f"0 segments changed, {QUARTER} unchanged" in result.stderr
    assert (
        json.loads(run("status", out, "--json").stdout)["learned_blocks"]
        == (state["learned_blocks"])
    )
    assert out.read_bytes() == bytes_before


def test_killed_while_edits_are_learned(tmp_path: Path, book: Path) -> None:
    """SIGKILL in training, in a swap and amid the rest: what no kill disturbs comes out."""
    out, xliff = tmp_path / "novel.txt", tmp_path / "novel.xlf"
    assert run(*translate(book, "--test", QUARTER)).returncode == 0
    assert run("export", out, xliff).returncode == 0
    edit_targets(xliff, N_EDITS)
    begun = tmp_path / "begun"
    shutil.copytree(Path(f"{out}.job"), begun)
    text = out.read_bytes()
    command = [str(argument) for argument in translate(book, "--edited", xliff)]
    assert run(*command).returncode == 0
    expected = rows(out), out.read_bytes()
    shutil.rmtree(Path(f"{out}.job"))
    begun.rename(Path(f"{out}.job"))
    out.write_bytes(text)
    for point in ("training", "a swap", "a block"):
        killed = subprocess.run(
            [*KILLED, point, "1", *command], check=False, capture_output=True, timeout=120
        )
        assert killed.returncode == -signal.SIGKILL, (point, killed.stderr)
    result = run(*command)
    assert result.returncode == 0, result.stderr
    assert (rows(out), out.read_bytes()) == expected


def test_a_corrected_out_of_a_finished_job(tmp_path: Path) -> None:
    """Word: two paragraphs corrected by hand, one added, and nothing is translated again."""
    source, out = tmp_path / "roman.docx", tmp_path / "novel.docx"
    document = docx.Document()
    for text in FRENCH[:4]:
        document.add_paragraph(text)
    document.save(str(source))
    assert run(*translate(source)).returncode == 0
    before = rows(out)
    document = docx.Document(str(out))
    first, second, third, _ = document.paragraphs
    first.runs[0].text = f"A hand wrote this: {first.runs[0].text}"
    third.runs[0].text += " And this too."
    second.insert_paragraph_before("No segment is like this one, which is new.")
    document.save(str(out))
    edited = out.read_bytes()
    check_failure(run(*translate(source)), f"-o {out}: was changed")
    assert out.read_bytes() == edited
    result = run(*translate(source, "--edited", out))
    assert result.returncode == 0, result.stderr
    assert "--edited: 2 segments changed, 2 unchanged, 1 of the file not in the job" in (
        result.stderr
    )
    after = rows(out)
    assert [text for _, text, _, _ in after] == [
        f"A hand wrote this: {before[0][1]}",
        before[1][1],
        f"{before[2][1]} And this too.",
        before[3][1],
    ]
    texts = [paragraph.text for paragraph in docx.Document(str(out)).paragraphs]
    assert texts == [text for _, text, _, _ in after]
    assert (tmp_path / "novel.docx.job" / "edited.docx").read_bytes() == edited
    assert run(*translate(source)).returncode == 0, "it is the job's own file again"


def test_a_corrected_partial_out(tmp_path: Path, book: Path) -> None:
    out = tmp_path / "novel.txt"
    assert run(*translate(book, "--test", QUARTER)).returncode == 0
    paragraphs = out.read_text(encoding="utf-8").rstrip("\n").split("\n\n")
    paragraphs[1] = "She gave him wine, said the editor."
    paragraphs[-1] = "Nobody slept, said the editor."  # not translated yet
    out.write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")
    result = run(*translate(book, "--edited", out))
    assert result.returncode == 0, result.stderr
    assert "--edited: 2 segments changed" in result.stderr
    written = out.read_text(encoding="utf-8").rstrip("\n").split("\n\n")
    assert (written[1], written[-1]) == (paragraphs[1], paragraphs[-1])
    assert [origin for _, _, origin, _ in rows(out)].count("edit") == 2


def test_a_memory_and_tmx_of_an_earlier_job(tmp_path: Path) -> None:
    source = tmp_path / "roman.txt"
    source.write_text("\n\n".join(FRENCH[:3]) + "\n", encoding="utf-8")
    assert run(*translate(source)).returncode == 0
    out, memory = tmp_path / "novel.txt", tmp_path / "memory.tmx"
    assert run("export", out, memory).returncode == 0
    assert [one.translation for one in read_exchange(memory, "", "fr-CA", "EN")] == [
        text for _, text, _, _ in rows(out)
    ]
    again = tmp_path / "suite.txt"
    again.write_text("\n\n".join([FRENCH[3], *FRENCH[:3]]) + "\n", encoding="utf-8")
    result = run("translate", again, "-o", tmp_path / "b.txt", *LANGUAGES, "--memory", memory,
                 "--references", memory)  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = rows(tmp_path / "b.txt")
    assert [origin for _, _, origin, _ in found] == ["model", "memory", "memory", "memory"]
    assert [text for _, text, _, _ in found[1:]] == [text for _, text, _, _ in rows(out)]


def test_bad_files_and_names_are_one_line(tmp_path: Path) -> None:
    source, out = tmp_path / "roman.txt", tmp_path / "novel.txt"
    source.write_text(f"{FRENCH[0]}\n", encoding="utf-8")
    check_failure(run("export", out, tmp_path / "a.xlf"), "no job was begun for it")
    assert run(*translate(source)).returncode == 0
    taken = tmp_path / "a.tmx"
    taken.write_text("precious")
    check_failure(run("export", out, taken), f"FILE {taken}: exists", "--force")
    check_failure(run("export", out, tmp_path / "a.po"), ".xlf, .xliff, .tmx")
    check_failure(run("export", out, "-"), "expected a name that ends in")
    for flag in ("--edited", "--memory", "--references"):
        check_failure(run(*translate(source, flag, taken)), f"{flag} {taken}: ")
        check_failure(run(*translate(source, flag, tmp_path / "no.xlf")), "cannot be read")
    assert run("export", out, taken, "--force").returncode == 0
    for old, new, words in (
        ("en", "de", "de, fr; expected units in fr and en"),
        ("fr", "nl", "en, nl; expected units in fr and en"),
        ("vieux", "jeune", "none of its 1 segments is in the job"),
    ):
        text = taken.read_text(encoding="utf-8").replace(f'lang="{old}"', f'lang="{new}"')
        other = tmp_path / "other.tmx"
        other.write_text(text.replace("vieux", new) if old == "vieux" else text, encoding="utf-8")
        check_failure(run(*translate(source, "--edited", other)), f"--edited {other}: ", words)
    check_failure(run(*translate(source, "--edited", tmp_path / "a.odt")), "--edited", ".txt")
