"""The benchmark of the checks, on a few pairs of a table."""

import json
import subprocess
import sys
from pathlib import Path

from paths import ROOT
from texts import ENGLISH, FRENCH


def test_good_pairs_pass_and_damaged_ones_do_not(tmp_path: Path) -> None:
    table = tmp_path / "pairs.tsv"
    table.write_text(
        "".join(f"{source}\t{target}\n" for source, target in zip(FRENCH, ENGLISH, strict=True)),
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "scripts.benchmarks.checks", str(table), "--examples", "9"]
    result = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["pairs"] == len(FRENCH)
    assert report["flagged"] == 0, result.stderr
    assert report["damaged"] > 0
    assert report["caught_rate"] == 1.0, result.stderr
