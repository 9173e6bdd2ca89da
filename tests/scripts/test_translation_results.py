"""The script that measures what Temp-LoRA gives in translation."""

import json
import subprocess
import sys
from pathlib import Path

from paths import ROOT
from texts import ENGLISH, FRENCH

SCRIPT = ROOT / "scripts" / "translation_results.py"
REPEATS = 6
N = REPEATS * len(FRENCH)
UPDATE = 20
"""Segments of a block of 256 tokens, at least."""


def measure(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments), "-t", "1"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_four_systems_are_measured_once(tmp_path: Path) -> None:
    results, out, pairs = (tmp_path / name for name in ("r.jsonl", "out.md", "pairs.jsonl"))
    entries = [{"doc": "sea", "src": f, "en": e} for f, e in zip(FRENCH, ENGLISH, strict=True)]
    pairs.write_text("".join(json.dumps(entry) + "\n" for entry in REPEATS * entries))
    found = measure(results, out, pairs)
    assert found.returncode == 0, found.stderr
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    losses = {line["run"]["system"]: [s["nll"] for s in line["segments"]] for line in lines}
    for learning, without in (("own", "base"), ("references", "base, shown")):
        assert len(losses[learning]) == N
        assert losses[learning][:UPDATE] == losses[without][:UPDATE]
        assert losses[learning] != losses[without]
    report = out.read_text()
    assert f"## sea, {N} segments" in report
    assert report.count("| base → own |") == 4
    again = measure(results, out, pairs)
    assert (again.returncode, again.stderr) == (0, "")
    assert len(results.read_text().splitlines()) == len(lines)
    assert out.read_text() == report
    missing = measure(results, out, pairs, "--documents", "land")
    assert missing.returncode == 2
    assert "--documents land: none of that name" in missing.stderr
