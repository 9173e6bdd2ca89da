"""Compare the logits that `probe` wrote on several machines.

Usage: python -m scripts.aarch64.compare REFERENCE.npz OTHER.npz...

Exit status: 0 if all differences are below `TOLERANCE`, 1 otherwise.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np

TOLERANCE: Final = 1e-2
"""Largest difference between logits that is accepted."""


def main() -> None:
    """Print the largest differences."""
    parser = argparse.ArgumentParser("python -m scripts.aarch64.compare")
    parser.add_argument("reference", type=Path, metavar="REFERENCE.npz")
    parser.add_argument("others", type=Path, nargs="+", metavar="OTHER.npz")
    arguments = parser.parse_args()
    agree = True
    with np.load(arguments.reference) as reference:
        for path in arguments.others:
            with np.load(path) as other:
                for name in ("before", "after"):
                    worst = float(np.abs(reference[name] - other[name]).max())
                    agree &= worst <= TOLERANCE
                    spread = float(reference[name].std())
                    print(
                        f"{path.stem}, {name} the updates: logits differ by {worst:.2g} at most "
                        f"(their standard deviation is {spread:.2g})"
                    )
    if not agree:
        sys.exit(f"compare: more than {TOLERANCE}")


if __name__ == "__main__":
    main()
