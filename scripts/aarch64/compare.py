"""Compare the logits that `probe` wrote on several machines.

Usage: python -m scripts.aarch64.compare REFERENCE.npz OTHER.npz...

Exit status: 0 if all differences with float32 weights are at most `TOLERANCE`, 1 otherwise.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np

TOLERANCE: Final = 1e-2
"""Largest difference between logits that is accepted."""
NAMES: Final = {
    "before": "float32, before the updates",
    "after": "float32, after the updates",
    "quantized": "as bundled",
}


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
                worst = {n: float(np.abs(reference[n] - other[n]).max()) for n in NAMES}
            for name, words in NAMES.items():
                print(f"{path.stem}, {words}: logits differ by {worst[name]:.2g} at most")
            agree &= max(worst["before"], worst["after"]) <= TOLERANCE
        moved = float(np.abs(reference["before"] - reference["quantized"]).max())
        print(f"here, as bundled instead of in float32: they differ by {moved:.2g} at most")
    if not agree:
        sys.exit(f"compare: float32 logits differ by more than {TOLERANCE}")


if __name__ == "__main__":
    main()
