"""The benchmarks: each run is measured once, and the reports show the results."""

import json
import math
import re
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

import pytest
import torch
from paths import PROSE, ROOT
from texts import ENGLISH, FRENCH

from scripts.benchmarks import models, own_text, pg19
from scripts.benchmarks.paper import PaperLoop
from scripts.benchmarks.report.__main__ import main as write_report
from templora_edge import TempLora
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.evaluation.bench import SAMPLING
from templora_edge.events import ScoredBlock
from templora_edge.models.base_gguf import BaseGguf
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import Options

REPEATS = 6
N = REPEATS * len(FRENCH)
UPDATE = 20
"""Segments of a block of 256 tokens, at least."""
RATES = ("--learning-rate", 5e-4, "--own-learning-rate", 5e-4)


def test_variants_that_do_not_exist_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "r.jsonl"
    arguments = [str(results), "position", "rate", "--books", str(PROSE), "--variants"]
    monkeypatch.setattr(sys, "argv", ["pg19", *arguments, "default", "MLP only"])
    with pytest.raises(SystemExit, match="2"):
        pg19.main()
    errors = capsys.readouterr().err
    assert "--variants: 'MLP only' is not a variant of position, rate; expected some of" in errors
    assert "'default', 'auto', '2e-05'" in errors
    assert not results.exists()


def translate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.benchmarks.translation", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.slow
def test_four_systems_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, out, pairs = (tmp_path / name for name in ("r.jsonl", "out.md", "pairs.jsonl"))
    entries = [{"doc": "sea", "src": f, "en": e} for f, e in zip(FRENCH, ENGLISH, strict=True)]
    pairs.write_text("".join(json.dumps(entry) + "\n" for entry in REPEATS * entries))
    found = translate(results, pairs, "-t", 1, *RATES)
    assert found.returncode == 0, found.stderr
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    losses = {line["run"]["system"]: [s["nll"] for s in line["segments"]] for line in lines}
    for learning, without in (("own", "base"), ("references", "base, shown")):
        assert len(losses[learning]) == N
        assert losses[learning][:UPDATE] == losses[without][:UPDATE]
        assert losses[learning] != losses[without]
    monkeypatch.setattr(sys, "argv", ["report", "translation", str(results), str(out)])
    write_report()
    report = out.read_text()
    assert f"## sea, {N} segments" in report
    assert report.count("| base → own, rate") == 4
    again = translate(results, pairs, "-t", 1, *RATES)
    assert (again.returncode, again.stderr) == (0, "")
    assert len(results.read_text().splitlines()) == len(lines)
    write_report()
    assert out.read_text() == report
    missing = translate(results, pairs, "--documents", "land")
    assert missing.returncode == 2
    assert "--documents land: none of that name" in missing.stderr


def test_a_book_is_scored_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results, out = tmp_path / "r.jsonl", tmp_path / "out.md"
    # of two seeds, so that the second takes the base's scores from the first
    arguments = [results, "position", "--books", PROSE, "--tokens", 1100, "-t", 1, "--seeds", 0, 1]
    monkeypatch.setattr(sys, "argv", ["pg19", *map(str, arguments)])
    pg19.main()
    line, other = map(json.loads, results.read_text().splitlines())
    assert [one["result"]["files"][0]["base_scores"] for one in (line, other)] == [
        "computed", "read",
    ]  # fmt: skip
    assert line["result"]["total"]["base"] == other["result"]["total"]["base"]
    assert line["result"]["total"]["templora"] != other["result"]["total"]["templora"]
    pg19.main()
    assert len(results.read_text().splitlines()) == 2
    monkeypatch.setattr(sys, "argv", ["report", "pg19", str(results), str(out)])
    write_report()
    report = out.read_text()
    total = line["result"]["total"]
    figures = rf"\| {total['base']['ppl']:.2f} \| {total['templora']['ppl']:.2f} \|"
    assert re.search(rf"\| {PROSE.name} \| [\d,]+ {figures}", report)
    totals = [one["result"]["total"]["change_percent"] for one in (line, other)]
    cells = [rf"{re.escape(f'{change:+.1f}')} ± \S+ %" for change in totals]
    assert "| book | seed 0 | seed 1 | spread, points |" in report
    assert re.search(rf"\| {PROSE.name} \| {cells[0]} \| {cells[1]} \| \d+\.\d\d \|", report)
    assert "`python -m scripts.benchmarks.pg19 RESULTS.jsonl position --books prose.txt" in report
    assert (tmp_path / "pg19-novels-6m-q8_0.svg").exists()
    monkeypatch.setattr(sys, "argv", ["report", "pg19", str(tmp_path / "none"), str(out)])
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        write_report()
    assert "none: no results" in capsys.readouterr().err


@pytest.mark.slow
def test_own_text_is_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results, out, prompt = (tmp_path / name for name in ("r.jsonl", "out.md", "rain.txt"))
    prompt.write_text("The rain had not stopped since Monday, and the river")
    common = [results, "--judge", BUNDLED_MODEL, "--tokens", 80, "-c", 128, "-t", 1]

    def write(*arguments: object) -> list[dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", ["own_text", *map(str, [*common, *arguments])])
        own_text.main()
        return [json.loads(line) for line in results.read_text().splitlines()]

    monkeypatch.setattr(own_text, "CONTINUATION", 100)
    write("--prompts", prompt)
    story = ["--absorb", PROSE, "--absorb-tokens", 300, "--seeds", 1]
    lines = write(*story)
    assert [line["run"]["variant"] for line in lines] == 3 * ["none", "default"]
    assert write("--prompts", prompt) == lines
    with TempLora(templora=False, n_ctx=1024, block_len=256, prefix_len=512, n_threads=1) as judge:
        judge.absorb(prompt.read_text())
        score = judge.score(lines[0]["text"])
    perplexities = lines[0]["quarters"]["perplexity"]
    assert math.isclose(math.prod(perplexities) ** (1 / 4), score.ppl, rel_tol=0.02)
    without, learned = lines[-2:]
    assert learned["continuation"] != without["continuation"]
    assert learned["continuation"] == pytest.approx(without["continuation"], rel=0.2)
    with pytest.raises(SystemExit, match=r"prose.txt has [\d,]+ tokens; expected at least 90,100"):
        write(*story[:2], "--absorb-tokens", 90_000)
    monkeypatch.setattr(sys, "argv", ["report", "own-text", str(results), str(out)])
    write_report()
    report = out.read_text()
    assert report.count("| none |") == report.count("| default |") == 4 + 5
    assert f"| default | {learned['continuation']:.1f} (" in report
    assert " ".join(lines[1]["text"].split()[:5]) in report


def test_a_long_window_without_templora_stands_beside_short_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, out = tmp_path / "r.jsonl", tmp_path / "out.md"
    arguments = [results, "window", "--books", PROSE, "--tokens", 300, "-t", 1]
    monkeypatch.setattr(sys, "argv", ["pg19", *map(str, arguments)])
    pg19.main()
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert [line["run"]["variant"] for line in lines] == list(pg19.EXPERIMENTS["window"])
    monkeypatch.setattr(sys, "argv", ["report", "pg19", str(results), str(out)])
    write_report()
    ppl = lines[-1]["result"]["total"]["base"]["ppl"]
    row = rf"W 4096, no Temp-LoRA \| [\d.]+ \| {ppl:.2f} \| - \| - \| \d+ \| - \| [\d.]+ \| - \|"
    assert re.search(row, out.read_text())


def test_the_reference_is_the_same_model() -> None:
    """Its loss on text it has not learned is llama.cpp's, and falls once it has."""
    with TempLora(templora=False, n_ctx=256, block_len=64, n_threads=1) as session:
        tokens = session.tokenize(PROSE.read_text())[:128]
        [scored, *_] = session.score_block(tokens[64:], tokens[:64])
        head = session.engine.model.vocab.head
    assert isinstance(scored, ScoredBlock)
    options = Options().changed(
        preset="paper", n_ctx=256, block_len=64, train_prefix_len=64, n_threads=1,
        own_learning_rate=1e-3,
    ).resolve(BaseGguf(BUNDLED_MODEL))  # fmt: skip
    loop = PaperLoop(GgufFile(BUNDLED_MODEL), options, torch.float32, head, list(tokens))
    losses = [loop.learn() for _ in range(3)]
    assert losses[0] == pytest.approx(sum(scored.nll) / 64, rel=0.02)
    assert losses[2] < losses[1] < losses[0]
    loop.write(SAMPLING)
    assert loop.text[:128] == tokens
    assert len(loop.text) == 128 + 64


@pytest.mark.slow
def test_both_sides_are_measured_in_one_run() -> None:
    flags = ["--tokens", "40", "--block", "32", "-c", "128", "-t", "1", "--dtype", "fp32"]
    command = [sys.executable, "-m", "scripts.benchmarks.reference", str(BUNDLED_MODEL), *flags]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    reference, product = found["reference"], found["default"]
    assert found["tokens"] == 64
    for side in (reference, product):
        assert side["tokens_per_s"] == pytest.approx(64 / sum(side["seconds"].values()), rel=0.2)
        assert side["settings"]["block_len"] == 32
    assert product["speed_ratio"] == product["tokens_per_s"] / reference["tokens_per_s"]
    used = product["private_peak_bytes"] / reference["private_peak_bytes"]
    assert product["memory_ratio"] == used


def test_models_go_by_path_or_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, other = tmp_path / "models", tmp_path / "other.gguf"
    folder.mkdir()
    for path in (folder / "small-q4_1.gguf", other):
        path.touch()
    monkeypatch.setattr(models, "FOLDER", folder)
    monkeypatch.chdir(tmp_path)
    for name in ("small-q4_1", "small-q4_1.gguf"):
        assert models.model(name) == folder / "small-q4_1.gguf"
    assert models.model("other.gguf").samefile(other)
    with pytest.raises(ArgumentTypeError, match=r"other: no such file, and models/ has small-q4_1"):
        models.model("other")
