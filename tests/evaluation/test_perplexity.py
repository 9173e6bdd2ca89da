"""Streaming perplexity: known answers, slow references, and the command."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import TEMPLORA, check_failure, run
from hypothesis import given
from hypothesis import strategies as st
from parity import EXACT, engine_logits
from texts import TEXT

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.engine import LlamaEngine
from templora_edge.evaluation.metrics import Comparison, between
from templora_edge.evaluation.perplexity import NamedText, PerplexityJob, PerplexityRun
from templora_edge.host.workspace import default_root
from templora_edge.options import EngineOptions, Options, ScoringProtocol
from templora_edge.score import Score

OPTIONS = Options().changed(
    n_ctx=256, block_len=64, n_threads=1, rank=8, learning_rate=3e-3, epochs=4, train_dtype="fp32"
)
FLAGS = ["-c", 256, "--block", 64, "--rank", 8, "--learning-rate", 3e-3, "--train-dtype", "fp32"]
NOVEL = (
    "The captain stood upon the deck and looked towards the shore, where a few lights were "
    "burning. Nobody had spoken since the boat was lowered; the men sat at their oars, and waited. "
)


def score(text: str, *, templora: bool = True, **changes: Any) -> dict[str, Any]:
    options = OPTIONS.changed(templora=templora)
    job = PerplexityJob((NamedText("text", text),), options=options, **changes)
    run = PerplexityRun(job)
    list(run)
    return run.result()


blocks_of_nll = st.lists(st.lists(st.floats(0, 12), max_size=6), max_size=8)


@given(blocks_of_nll, st.integers(0, 60), st.integers(0, 60))
def test_between_is_a_slice_that_remembers_blocks(
    blocks: list[list[float]], begin: int, end: int
) -> None:
    parts = between(blocks, begin, end)
    flat = [(index, nll) for index, block in enumerate(blocks) for nll in block]
    expected: dict[int, list[float]] = {}
    for index, nll in flat[begin:end]:
        expected.setdefault(index, []).append(nll)
    assert [list(part) for part in parts] == list(expected.values())


@given(blocks_of_nll, st.integers(1, 9))
def test_buckets_cover_every_token_once(blocks: list[list[float]], width: int) -> None:
    n = sum(map(len, blocks))
    parts = [between(blocks, begin, begin + width) for begin in range(0, n, width)]
    flat = [nll for part in parts for block in part for nll in block]
    assert flat == [nll for block in blocks for nll in block]


@given(blocks_of_nll, st.integers(0, 2**32 - 1))
def test_comparison_is_its_definition(blocks: list[list[float]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    others = [[max(0.0, nll + rng.normal()) for nll in block] for block in blocks]
    comparison = Comparison(Score.of(blocks), Score.of(others))
    differences = [b - a for x, y in zip(blocks, others, strict=True) for a, b in zip(x, y)]  # noqa: B905
    if not differences:
        assert comparison.change_percent is None
        return
    ratio = comparison.templora.ppl / comparison.base.ppl
    assert comparison.change_percent == pytest.approx(100 * (ratio - 1), abs=1e-6)
    sums = np.array([sum(y) - sum(x) for x, y in zip(blocks, others, strict=True) if x])
    sizes = np.array([len(x) for x in blocks if x])
    if len(sizes) < 2:
        assert comparison.change_percent_se is None
        return
    mean = sums.sum() / sizes.sum()  # a ratio estimator over clusters, the textbook's formula
    residuals = sums - mean * sizes
    variance = len(sizes) / (len(sizes) - 1) * (residuals**2).sum() / sizes.sum() ** 2
    expected = 100 * math.exp(mean) * math.sqrt(variance)
    assert comparison.change_percent_se == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_standard_error_is_the_spread_of_repeated_experiments() -> None:
    rng = np.random.default_rng(0)
    changes, errors = [], []
    for _ in range(400):
        shared = rng.normal(0, 0.3, size=(40, 1))  # errors of tokens in a block are correlated
        differences = -0.1 + shared + rng.normal(0, 0.5, size=(40, 16))
        base = rng.uniform(2, 6, size=(40, 16))
        comparison = Comparison(Score.of(base.tolist()), Score.of((base + differences).tolist()))
        assert comparison.change_percent is not None
        assert comparison.change_percent_se is not None
        changes.append(comparison.change_percent)
        errors.append(comparison.change_percent_se)
    assert np.mean(errors) == pytest.approx(np.std(changes), rel=0.1)


def test_a_block_is_scored_before_it_is_learned() -> None:
    """Repeated text is known by then; in new text, training before scoring would show."""
    result = score(NOVEL * 6)
    buckets = result["files"][0]["buckets"]
    assert len(buckets) == 4
    with LlamaEngine(BUNDLED_MODEL, EXACT) as engine:
        tokens = engine.model.vocab.tokenize(NOVEL * 6)
        assert engine.model.vocab.adds_bos, "nothing precedes the first token"
    one_block = score(NOVEL * 6, max_tokens=64)["total"]
    assert one_block["tokens"] == 64
    assert one_block["base"] == one_block["templora"]
    assert one_block["change_percent"] == 0
    assert result["total"]["tokens"] == len(tokens)
    assert buckets[-1]["change_percent"] < -20


def test_the_base_is_what_the_engine_says() -> None:
    """Streaming inside one context is plain scoring, up to rounding of an F16 cache in batches."""
    text = (NOVEL + TEXT) * 2
    with LlamaEngine(BUNDLED_MODEL, EngineOptions(n_ctx=256, n_threads=1)) as engine:
        tokens = [*engine.model.vocab.head, *engine.model.vocab.tokenize(text)[:190]]
        logits = engine_logits(engine, tokens).astype(np.float64)
    log_sums = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
    nll = [log_sums[i] - logits[i, tokens[i + 1]] for i in range(len(tokens) - 1)]
    result = score(text, templora=False, max_tokens=190)["total"]
    assert result["templora"] is None
    assert result["change_percent"] is None
    assert result["base"]["ppl"] == pytest.approx(math.exp(np.mean(nll)), rel=5e-3)
    blocks = [nll[:64], nll[64:128], nll[128:]]
    expected = sum(len(b) * math.exp(np.mean(b)) for b in blocks) / len(nll)
    assert result["base"]["ppl_block_mean"] == pytest.approx(expected, rel=5e-3)


def test_the_chunks_of_llama_perplexity() -> None:
    """A slow reference of llama.cpp's perplexity.cpp: whole windows, second halves, BOS first."""
    text = NOVEL * 14
    job = PerplexityJob(
        (NamedText("text", text),),
        options=OPTIONS.changed(templora=False),
        protocol=ScoringProtocol.LLAMA_PERPLEXITY,
    )
    run = PerplexityRun(job)
    list(run)
    nll = []
    with LlamaEngine(BUNDLED_MODEL, EngineOptions(n_ctx=256, n_threads=1)) as engine:
        vocab = engine.model.vocab
        tokens = [*vocab.head, *vocab.tokenize(text)]
        assert vocab.adds_bos
        assert len(tokens) % 256
        for begin in range(0, len(tokens) - 255, 256):
            logits = engine_logits(engine, [vocab.bos, *tokens[begin + 1 : begin + 256]])
            for index in range(128, 255):
                row = logits[index].astype(np.float64)
                log_sum = np.log(np.exp(row - row.max()).sum()) + row.max()
                nll.append(log_sum - row[tokens[begin + index + 1]])
    total = run.result()["total"]
    assert total["tokens"] == len(nll) == len(tokens) // 256 * 127
    assert total["base"]["ppl"] == pytest.approx(math.exp(np.mean(nll)), rel=1e-3)


@pytest.mark.skipif(
    not os.environ.get("LLAMA_PERPLEXITY") and not shutil.which("llama-perplexity"),
    reason="llama.cpp's llama-perplexity is not built (LLAMA_PERPLEXITY or PATH)",
)
def test_llama_cpps_own_perplexity(tmp_path: Path) -> None:
    tool = os.environ.get("LLAMA_PERPLEXITY") or "llama-perplexity"
    file = tmp_path / "text.txt"
    file.write_text((NOVEL + TEXT) * 20)
    result = subprocess.run(
        [tool, "-m", BUNDLED_MODEL, "-f", file, "-c", "256", "-b", "256", "-t", "1"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    (theirs,) = re.findall(r"Final estimate: PPL = ([\d.]+)", result.stdout + result.stderr)
    ours = run("perplexity", file, "-c", 256, "--protocol", "llama-perplexity", "--no-templora",
               "--json")  # fmt: skip
    assert json.loads(ours.stdout)["total"]["base"]["ppl"] == pytest.approx(float(theirs), rel=1e-3)


def test_llama_perplexity_with_templora_learns() -> None:
    result = score(NOVEL * 20, protocol=ScoringProtocol.LLAMA_PERPLEXITY)["total"]
    assert result["buckets"][0]["change_percent"] > result["change_percent"]
    assert result["change_percent"] < -5


def test_json_of_two_files(tmp_path: Path) -> None:
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text(NOVEL * 4)
    two.write_text(TEXT * 2)
    plot = tmp_path / "curve.svg"
    result = run("perplexity", one, two, *FLAGS, "--buckets", 3, "--json", "--plot", plot)
    assert result.returncode == 0, result.stderr
    assert "tokens scored" in result.stderr
    document = json.loads(result.stdout)
    assert document.keys() == {"files", "total", "settings"}
    total, files = document["total"], document["files"]
    figures = {"tokens", "base", "templora", "change_percent", "change_percent_se"}
    assert total.keys() == figures | {"buckets", "seconds", "peak_rss_bytes"}
    assert [file["file"] for file in files] == [str(one), str(two)]
    for key in ("base", "templora"):
        assert total[key].keys() == {"ppl", "ppl_block_mean", "nll"}
        assert total[key]["nll"] == pytest.approx(sum(file[key]["nll"] for file in files))
        assert total[key]["ppl"] == pytest.approx(math.exp(total[key]["nll"] / total["tokens"]))
    for part in (total, *files):
        assert sum(bucket["tokens"] for bucket in part["buckets"]) == part["tokens"]
        assert part["buckets"][0].keys() == figures | {"begin", "end"}
    assert len(total["buckets"]) == 3
    assert len(files[1]["buckets"]) < 3  # the second text is shorter
    assert {file["base_scores"] for file in files} == {"computed"}
    assert total["seconds"].keys() == {
        "load", "score_base", "score_templora", "train", "convert", "swap",
    }  # fmt: skip
    assert plot.read_text().lstrip().startswith("<?xml")


def test_table_of_a_piped_text() -> None:
    result = run("perplexity", "-", *FLAGS, prompt=NOVEL * 4)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split()[:2] == ["position", "tokens"]
    begins, ends = zip(*(line.split()[:3:2] for line in lines[1:5]), strict=True)
    assert begins == ("0", *ends[:-1])
    assert lines[5].startswith("total")
    assert "ppl_block_mean" in lines[-1]


@pytest.mark.slow
def test_ctrl_c_prints_what_is_there(tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    file.write_text(NOVEL * 2000)
    # a test run in the background of a script ignores Ctrl-C, which children inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*TEMPLORA, "perplexity", str(file), *map(str, FLAGS), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("0 of ")
    assert "tokens scored" in process.stderr.readline()  # some blocks are done
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    total = json.loads(out)["total"]
    assert total["tokens"] >= 63
    assert total["base"]["ppl"] > 1
    assert not list(default_root().glob("templora-*"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("empty; expected some text",)),
        (b"\n", ("empty; expected some text",)),
        (b"abc \0 def", ("not text", "0x00", "offset 4")),
        (None, ("No such file",)),
    ],
)
def test_files_that_cannot_be_scored(
    content: bytes | None, words: tuple[str, ...], tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text(NOVEL)
    if content is not None:
        bad.write_bytes(content)
    check_failure(run("perplexity", good, bad, *FLAGS), str(bad), *words)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--plot", "curve.pdf"], ("--plot", ".png or .svg")),
        (["--plot", "nowhere/curve.png"], ("--plot", "nowhere")),
        (["--protocol", "llama-perplexity"], ("512 tokens", "give a longer text")),
        (["--block", "256"], ("--block",)),
    ],
)
def test_contradictions_come_before_the_work(
    flags: list[str], words: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "short.txt"
    file.write_text(NOVEL)
    check_failure(run("perplexity", file, "-c", 256, *flags, cwd=tmp_path), *words)


def test_an_unknown_protocol_is_wrong_usage(tmp_path: Path) -> None:
    file = tmp_path / "short.txt"
    file.write_text(NOVEL)
    assert run("perplexity", file, "--protocol", "other").returncode == 2


def test_a_text_of_one_token() -> None:
    """After BOS, one token is scored; there is nothing to learn from it, and no spread."""
    total = score("a")["total"]
    assert total["tokens"] == 1
    assert total["base"] == total["templora"]
    assert total["change_percent"] == 0
    assert total["change_percent_se"] is None


def test_one_token_without_a_bos_before_it(smollm2: Path) -> None:
    result = score("a", max_tokens=1, model=smollm2)
    assert result["total"]["tokens"] == 0
    assert result["total"]["base"]["ppl"] is None
    assert result["total"]["change_percent"] is None


def test_one_repeated_word() -> None:
    total = score("sea " * 300)["total"]
    assert total["tokens"] > 250
    assert total["change_percent"] < 0
