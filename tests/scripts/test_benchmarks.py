"""The benchmarks: what they measure is measured once, and their reports say it."""

import json
import subprocess
import sys
from pathlib import Path

from paths import ROOT
from texts import ENGLISH, FRENCH

REPEATS = 6
N = REPEATS * len(FRENCH)
UPDATE = 20
"""Segments of a block of 256 tokens, at least."""


def benchmark(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"scripts.benchmarks.{name}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_four_systems_are_measured_once(tmp_path: Path) -> None:
    results, out, pairs = (tmp_path / name for name in ("r.jsonl", "out.md", "pairs.jsonl"))
    entries = [{"doc": "sea", "src": f, "en": e} for f, e in zip(FRENCH, ENGLISH, strict=True)]
    pairs.write_text("".join(json.dumps(entry) + "\n" for entry in REPEATS * entries))
    found = benchmark("translation", results, pairs, "-t", 1)
    assert found.returncode == 0, found.stderr
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    losses = {line["run"]["system"]: [s["nll"] for s in line["segments"]] for line in lines}
    for learning, without in (("own", "base"), ("references", "base, shown")):
        assert len(losses[learning]) == N
        assert losses[learning][:UPDATE] == losses[without][:UPDATE]
        assert losses[learning] != losses[without]
    made = benchmark("report", "translation", results, out)
    assert (made.returncode, made.stderr) == (0, "")
    report = out.read_text()
    assert f"## sea, {N} segments" in report
    assert report.count("| base → own |") == 4
    again = benchmark("translation", results, pairs, "-t", 1)
    assert (again.returncode, again.stderr) == (0, "")
    assert len(results.read_text().splitlines()) == len(lines)
    missing = benchmark("translation", results, pairs, "--documents", "land")
    assert missing.returncode == 2
    assert "--documents land: none of that name" in missing.stderr
