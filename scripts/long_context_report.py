"""The table of what `long_context.py` measured, as Markdown on stdout.

Usage: python scripts/long_context_report.py RESULTS.jsonl
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

from long_context import FACTORS, TRAINED
from pg19_report import Line, pooled, table


def main() -> None:
    """Parse arguments and print: a row a method, a column a context, base -> Temp-LoRA."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path)
    lines = [json.loads(line) for line in parser.parse_args().results.read_text().splitlines()]
    variants: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        variants[line["run"]["variant"]].append(line["result"]["files"][0])
    methods = sorted({variant.rpartition(" ")[0] for variant in variants}, key=str.casefold)
    rows = []
    for method in methods:
        cells = [method]
        for factor in FACTORS:
            files = variants.get(f"{method} {factor}")
            if not files:
                cells.append("as base")
                continue
            total = pooled(files)
            cells.append(
                f"{total['base']:.1f} -> {total['templora']:.1f} ({total['change']:+.1f} %)"
            )
        rows.append(cells)
    print(table(["method", *(f"{factor} x = {factor * TRAINED:,}" for factor in FACTORS)], rows))


if __name__ == "__main__":
    main()
