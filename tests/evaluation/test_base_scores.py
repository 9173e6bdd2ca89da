"""Scores of the base that a file keeps: the same figures, served only where they belong."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import check_failure, run
from disks import disk
from gguf_files import copy_gguf
from paths import PROSE

from templora_edge import TempLora
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.errors import JobError, OutputError
from templora_edge.evaluation import perplexity
from templora_edge.evaluation.base_scores import BaseScores
from templora_edge.evaluation.perplexity import NamedText, PerplexityJob, PerplexityRun
from templora_edge.options import FixedAdapter, Options, ScoringProtocol

TEXT = PROSE.read_text()[:1600]
OPTIONS = Options().changed(
    n_ctx=128, block_len=32, prefix_len=64, n_threads=1, rank=4, learning_rate=3e-3, epochs=1,
    targets="mlp", train_dtype="fp32",
)  # fmt: skip
TIMES = ("seconds", "peak_rss_bytes", "base_scores")


def score(
    file: Path | None, text: str = TEXT, *, model: Path | None = None, max_tokens: int | None = 200,
    protocol: ScoringProtocol = ScoringProtocol.STREAM, **changes: Any,
) -> dict[str, Any]:  # fmt: skip
    job = PerplexityJob(
        (NamedText("text", text),), model, OPTIONS.changed(**changes), max_tokens=max_tokens,
        protocol=protocol, base_scores=file,
    )  # fmt: skip
    run = PerplexityRun(job)
    list(run)
    return run.result()


def base_only(file: Path | None, text: str = TEXT, **changes: Any) -> dict[str, Any]:
    return score(file, text, templora=False, **changes)


def origin(result: dict[str, Any]) -> str:
    return str(result["files"][0]["base_scores"])


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """All but what differs between two runs anyway."""
    return {
        part: {key: value for key, value in of.items() if key not in TIMES}
        for part, of in {"total": result["total"], "file": result["files"][0]}.items()
    }


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file with the scores of the first 200 tokens."""
    file = tmp_path_factory.mktemp("scores") / "base.json"
    assert origin(base_only(file)) == "computed"
    return file.read_bytes()


@pytest.fixture
def file(kept: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "base.json"
    path.write_bytes(kept)
    return path


@pytest.mark.parametrize("protocol", list(ScoringProtocol))
def test_figures_are_the_same_to_the_digit(protocol: ScoringProtocol, tmp_path: Path) -> None:
    file = tmp_path / "base.json"
    plain = score(None, max_tokens=300, protocol=protocol)
    first = score(file, max_tokens=300, protocol=protocol)
    written = file.read_bytes()
    second = score(file, max_tokens=300, protocol=protocol)
    assert [origin(one) for one in (plain, first, second)] == ["computed", "computed", "read"]
    assert figures(plain) == figures(first) == figures(second)
    assert second["total"]["change_percent"] != 0
    assert first["total"]["seconds"]["score_base"] > 0
    assert second["total"]["seconds"]["score_base"] == 0
    assert second["total"]["seconds"].keys() == first["total"]["seconds"].keys()
    assert file.read_bytes() == written


def test_another_rule_takes_the_same_scores(file: Path) -> None:
    rule: dict[str, Any] = {"rank": 8, "learning_rate": 1e-3, "train_prefix_len": 16, "seed": 3}
    plain, served = score(None, **rule), score(file, **rule)
    assert origin(served) == "read"
    assert figures(served) == figures(plain)


def test_known_scores_load_no_engine(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = base_only(None)

    class NoSession(TempLora):
        def __init__(self, *_: object, **__: object) -> None:
            raise AssertionError("the base was loaded")

    monkeypatch.setattr(perplexity, "TempLora", NoSession)
    served = base_only(file)
    assert origin(served) == "read"
    assert figures(served) == figures(plain)
    with pytest.raises(AssertionError, match="was loaded"):
        base_only(file, max_tokens=201)


@pytest.mark.parametrize("n", [1, 31, 32, 150])
def test_fewer_tokens_are_served(n: int, file: Path) -> None:
    fresh, served = base_only(None, max_tokens=n), base_only(file, max_tokens=n)
    assert origin(served) == "read"
    assert served["total"]["tokens"] == n
    # a last block that is cut shorter is decoded in another batch, and rounded otherwise
    expected = fresh["total"]["base"]["nll"]
    tolerance = 0 if n % 32 == 0 else 1e-3
    assert served["total"]["base"]["nll"] == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("n", [1, 33])
def test_the_first_token_has_no_score_without_bos(n: int, smollm2: Path, tmp_path: Path) -> None:
    file = tmp_path / "base.json"
    results = [base_only(file, model=smollm2, max_tokens=n) for _ in range(2)]
    assert [origin(result) for result in results] == ["computed", "read"]
    assert figures(results[0]) == figures(results[1])
    assert results[1]["total"]["tokens"] == n - 1


def test_more_tokens_replace_fewer(file: Path) -> None:
    before = file.stat().st_size
    assert origin(base_only(file, max_tokens=260)) == "computed"
    assert len(json.loads(file.read_text())["scores"]) == 1
    assert file.stat().st_size > before
    assert [origin(base_only(file, max_tokens=n)) for n in (260, 200)] == ["read", "read"]


@pytest.mark.parametrize(
    "changes",
    [
        {"n_ctx": 160}, {"block_len": 16}, {"prefix_len": 80}, {"kv_policy": "shift"},
        {"n_batch": 16}, {"type_k": "q8_0"}, {"protocol": ScoringProtocol.LLAMA_PERPLEXITY},
        {"max_tokens": None, "text": TEXT.replace("e", "a")},
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_the_scores_depend_on_is_compared(changes: dict[str, Any], file: Path) -> None:
    assert origin(base_only(file, **({"max_tokens": 300} | changes))) == "computed"
    assert len(json.loads(file.read_text())["scores"]) == 2
    assert origin(base_only(file)) == "read"  # what was there is kept
    assert origin(base_only(file, **({"max_tokens": 300} | changes))) == "read"


def test_another_model_of_the_same_name_is_not_served(file: Path, tmp_path: Path) -> None:
    copy, other = tmp_path / "copy.gguf", tmp_path / "other.gguf"
    copy.write_bytes(BUNDLED_MODEL.read_bytes())
    assert origin(base_only(file, model=copy)) == "read"
    copy_gguf(BUNDLED_MODEL, other, lambda writer: writer.add_uint32("a.number", 1))
    other.replace(copy)
    assert origin(base_only(file, model=copy)) == "computed"


def test_fixed_adapters_are_compared_by_contents(tmp_path: Path) -> None:
    file, adapter = tmp_path / "base.json", tmp_path / "adapter.gguf"

    def learn(text: str) -> None:
        with TempLora(None, OPTIONS) as session:
            session.absorb(text)
            session.save_adapter(adapter)

    learn(TEXT)
    lora: list[dict[str, Any]] = [{"lora": ()}, {"lora": [FixedAdapter(adapter)]}]
    for one in lora:
        assert origin(base_only(file, **one)) == "computed"
        assert origin(base_only(file, **one)) == "read"
    learn(TEXT[::-1])
    assert origin(base_only(file, **lora[1])) == "computed"
    assert len(json.loads(file.read_text())["scores"]) == 3


CONTENTS = {
    "empty": b"",
    "text": b"Call me Ishmael.",
    "binary": b"GGUF\x03\x00\x00\x00\xff\xfe",
    "other JSON": b'{"files": [], "total": {}}',
    "other version": b'{"format": "templora base scores 0", "scores": []}',
    "wrong scores": b'{"format": "templora base scores 1", "scores": [{"source": {}, "nll": [1]}]}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("name", CONTENTS)
def test_other_files_are_refused_and_kept(name: str, tmp_path: Path) -> None:
    file = tmp_path / "base.json"
    file.write_bytes(CONTENTS[name])
    with pytest.raises(JobError, match=r"base\.json: .*expected a file that --base-scores wrote"):
        base_only(file)
    assert file.read_bytes() == CONTENTS[name]


def test_the_command(tmp_path: Path, kept: bytes) -> None:
    file, text = tmp_path / "base.json", tmp_path / "text.txt"
    text.write_text(TEXT)
    flags = ["-c", 128, "--block", 32, "--no-templora", "--base-scores", file]
    results = [json.loads(run("perplexity", text, *flags, "--json").stdout) for _ in range(2)]
    assert [origin(result) for result in results] == ["computed", "read"]
    assert figures(results[0]) == figures(results[1])
    file.write_bytes(kept[:-100])
    check_failure(run("perplexity", text, *flags), str(file), "damaged", "give another name")
    assert file.read_bytes() == kept[:-100]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--base-scores", "text.txt"], ("--base-scores text.txt", "the same file as FILE")),
        (["--base-scores", "link.txt"], ("--base-scores link.txt", "the same file as FILE")),
        (["--base-scores", "."], ("--base-scores", "is a directory")),
        (["--base-scores", "no/base.json"], ("--base-scores", "create it first")),
        (["--base-scores", "a.svg", "--plot", "a.svg"], ("--plot a.svg", "the same file as")),
    ],
)
def test_files_that_are_something_else_in_the_command(
    flags: list[str], words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "link.txt").symlink_to("text.txt")
    check_failure(run("perplexity", "text.txt", *flags, cwd=tmp_path), *words)
    assert (tmp_path / "text.txt").read_text() == TEXT


KILLED = """
import os, signal, sys
from pathlib import Path
from templora_edge.evaluation.base_scores import BaseScores

write_text = Path.write_text
def half(path, text, *others):
    write_text(path, text[: len(text) // 2], *others)
    os.kill(os.getpid(), signal.SIGKILL)
Path.write_text = half
BaseScores(Path(sys.argv[1])).add({"text": "another"}, [1.5] * 10_000)
"""


def test_killed_while_writing_leaves_the_old(file: Path, kept: bytes) -> None:
    result = subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False)
    assert result.returncode == -9
    assert file.read_bytes() == kept
    assert origin(base_only(file)) == "read"


def test_a_full_disk_leaves_the_old(kept: bytes, tmp_path: Path) -> None:
    with disk(tmp_path / "small", "64k") as mounted:
        if not mounted:
            pytest.skip("needs the right to mount a file system")
        file = tmp_path / "small" / "base.json"
        file.write_bytes(kept)
        with pytest.raises(OutputError, match="--base-scores"):
            BaseScores(file).add({"text": "another"}, [1 / 3] * 10_000)
        assert file.read_bytes() == kept
        assert list(file.parent.iterdir()) == [file]


def test_a_stopped_run_keeps_nothing(tmp_path: Path) -> None:
    file = tmp_path / "base.json"
    texts = (NamedText("text", TEXT),)
    job = PerplexityJob(texts, options=OPTIONS.changed(templora=False), base_scores=file)
    for step in PerplexityRun(job):
        assert step.done < step.total
        break
    assert not file.exists()
