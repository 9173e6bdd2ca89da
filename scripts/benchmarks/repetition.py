"""Measure how much a model repeats itself when Temp-LoRA learns generated text, by learning rate.

Usage: python -m scripts.benchmarks.repetition [-m MODEL.gguf] [--tokens N]

The model generates N tokens without an adapter and with each learning rate, with three seeds.
Prints a table of the share of distinct four-token sequences in the last quarter: a model that
learns its own text too fast ends up repeating itself.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from scripts.benchmarks.tables import table
from templora_edge import SamplingOptions, TempLora
from templora_edge.assets import BUNDLED_MODEL

RATES: Final = (None, 5e-5, 2e-4, 7e-4)
"""Learning rates to test; None is no adapter."""
SEEDS: Final = (1, 2, 3)
PROMPT: Final = "It was a dark night in November, and the lamps were lit along the river."


def distinct(model: Path, rate: float | None, n_tokens: int, seed: int) -> float:
    """Share of distinct four-token sequences in the last quarter of ``n_tokens`` generated."""
    sampling = SamplingOptions(seed=seed, ignore_eos=True)
    with TempLora(
        model,
        templora=rate is not None,
        learning_rate=rate or 5e-5,
        train_dtype="fp32",
        measure_after=False,
        seed=seed,
    ) as session:
        pieces = session.generate(PROMPT, n_predict=n_tokens, sampling=sampling)
        tokens = [piece.token for piece in pieces][-n_tokens // 4 :]
    grams = list(zip(*(tokens[shift:] for shift in range(4)), strict=False))
    return len(set(grams)) / len(grams)


def main() -> None:
    """Parse the command line, measure, print."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.benchmarks.repetition", description=summary)
    parser.add_argument("-m", dest="model", type=Path, default=BUNDLED_MODEL, metavar="MODEL.gguf")
    parser.add_argument("--tokens", type=int, default=6_000)
    given = parser.parse_args()
    rows = []
    for rate in RATES:
        name = "no Temp-LoRA" if rate is None else f"{rate:g}"
        shares = [f"{distinct(given.model, rate, given.tokens, seed):.2f}" for seed in SEEDS]
        rows.append([name, *shares])
        print(*rows[-1], file=sys.stderr, flush=True)
    print(table(["learning rate", *(f"distinct, seed {seed}" for seed in SEEDS)], rows))


if __name__ == "__main__":
    main()
