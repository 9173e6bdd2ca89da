"""Write a report of benchmark results in Markdown.

Usage: python -m scripts.benchmarks.report BENCHMARK RESULTS.jsonl OUT.md

BENCHMARK is pg19, long-context, translation or own-text. RESULTS.jsonl is the file that the
benchmark of that name wrote. Plots are written beside OUT.md.
"""

import argparse
from pathlib import Path
from typing import Final

from scripts.benchmarks.report import long_context, own_text, pg19, translation
from scripts.benchmarks.runs import Results

REPORTS: Final = {
    "pg19": pg19.report,
    "long-context": long_context.report,
    "translation": translation.report,
    "own-text": own_text.report,
}
"""Benchmark -> function that returns the paragraphs of its report."""


def main() -> None:
    """Parse the command line, read the runs, write the report."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.benchmarks.report", description=summary)
    parser.add_argument("benchmark", choices=REPORTS)
    parser.add_argument("results", type=Path, metavar="RESULTS.jsonl")
    parser.add_argument("out", type=Path, metavar="OUT.md")
    given = parser.parse_args()
    lines = Results(given.results).lines
    if not lines:
        parser.error(
            f"{given.results}: no results; expected those of the benchmark {given.benchmark}"
        )
    paragraphs = REPORTS[given.benchmark](lines, given.out)
    given.out.write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
