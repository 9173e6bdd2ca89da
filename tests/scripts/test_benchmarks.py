"""The benchmarks: each run is measured once, and the reports show the results."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from paths import PROSE, ROOT
from texts import ENGLISH, FRENCH

from scripts.benchmarks import pg19
from scripts.benchmarks.report.__main__ import main as write_report

REPEATS = 6
N = REPEATS * len(FRENCH)
UPDATE = 20
"""Segments of a block of 256 tokens, at least."""


def translate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.benchmarks.translation", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.slow
def test_four_systems_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, out, pairs = (tmp_path / name for name in ("r.jsonl", "out.md", "pairs.jsonl"))
    entries = [{"doc": "sea", "src": f, "en": e} for f, e in zip(FRENCH, ENGLISH, strict=True)]
    pairs.write_text("".join(json.dumps(entry) + "\n" for entry in REPEATS * entries))
    found = translate(results, pairs, "-t", 1)
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
    assert report.count("| base → own |") == 4
    again = translate(results, pairs, "-t", 1)
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
    arguments = [results, "position", "--books", PROSE, "--tokens", "1100", "-t", "1"]
    monkeypatch.setattr(sys, "argv", ["pg19", *map(str, arguments)])
    pg19.main()
    [line] = map(json.loads, results.read_text().splitlines())
    pg19.main()
    assert len(results.read_text().splitlines()) == 1
    monkeypatch.setattr(sys, "argv", ["report", "pg19", str(results), str(out)])
    write_report()
    report = out.read_text()
    total = line["result"]["total"]
    figures = rf"\| {total['base']['ppl']:.2f} \| {total['templora']['ppl']:.2f} \|"
    assert re.search(rf"\| {PROSE.name} \| [\d,]+ {figures}", report)
    assert "`python -m scripts.benchmarks.pg19 RESULTS.jsonl position --books prose.txt" in report
    assert (tmp_path / "pg19-novels-6m-q8_0.svg").exists()
    monkeypatch.setattr(sys, "argv", ["report", "pg19", str(tmp_path / "none"), str(out)])
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        write_report()
    assert "none: no results" in capsys.readouterr().err
