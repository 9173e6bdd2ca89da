"""Repeat the paper's experiments (arXiv 2401.11504, section 4.1) on any model and any books.

Usage: python -m scripts.benchmarks.pg19 RESULTS.jsonl EXPERIMENT... --books FILE...
           [-m MODEL] [--variants NAME...] [--tokens N] [--seeds N...] [-t THREADS]

MODEL is the path of a GGUF, or the name of one in models/. EXPERIMENT is any of
  position   perplexity by position in the text, with the default settings
  rate       the learning rate: the one that is found while reading, and fixed ones
  block      Δ, the tokens between two updates
  prefix     L_X, the tokens kept when the context is full, and L_T, those that an update sees
  window     short W with Temp-LoRA against long W without: perplexity, FLOPs, time, KV memory
  rule       the update rule: presets, layers that carry the adapter
  seeds      the presets, for runs with several seeds

Every run, one variant of one experiment on one book, adds a line of JSON to RESULTS.jsonl; runs
that are already there are skipped, so an interrupted command can be repeated. What the base scores
is kept in the folder RESULTS.scores beside it, and read by variants that share it.
`python -m scripts.benchmarks.report pg19` makes the tables.
"""

import argparse
from typing import Final

from scripts.benchmarks.runs import Settings, score_books

RATES: Final = (2e-5, 5e-5, 2e-4, 5e-4, 1e-3)
"""Fixed learning rates: gemma-3-270m is best at the low ones, SmolLM2-135M and the bundled model at
the high ones."""
N_CTX: Final = 1024
LONG: Final = 4096
"""Context without Temp-LoRA that short ones with it are compared with."""
PRESETS: Final[dict[str, Settings]] = {
    preset: {"preset": preset} for preset in ("paper", "default", "best")
}

EXPERIMENTS: Final[dict[str, dict[str, Settings]]] = {
    "position": {"default": {}},
    "rate": {
        "auto": {"learning_rate": "auto"},
        **{f"{rate:g}": {"learning_rate": rate} for rate in RATES},
    },
    "block": {f"Δ {n}": {"block_len": n, "prefix_len": 512} for n in (128, 256, 512)},
    "prefix": {
        **{f"L_X {n}": {"prefix_len": n} for n in (512, 768)},
        **{f"L_T {n}": {"train_prefix_len": n} for n in (0, 128, 256, 512)},
    },
    "window": {
        # a quarter is decoded again for three new ones, instead of half for half
        **{
            f"W {n}": {"n_ctx": n, "block_len": 256, "prefix_len": n // 4} for n in (512, 768, 1024)
        },
        f"W {LONG}, no Temp-LoRA": {"n_ctx": LONG, "templora": False},
    },
    "rule": {
        **PRESETS,
        "MLP only": {"targets": "mlp"},
        "all linear layers": {"targets": "all"},
        **{f"last {n} layers": {"layers": n} for n in (15, 8, 3)},
    },
    "seeds": PRESETS,
}
"""Experiment -> variant -> settings besides a context of `N_CTX`."""


def main() -> None:
    """Parse the command line and do the runs that are missing."""
    experiments = {
        name: {variant: {"n_ctx": N_CTX} | settings for variant, settings in variants.items()}
        for name, variants in EXPERIMENTS.items()
    }
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.benchmarks.pg19", description=summary)
    score_books(parser, experiments, tokens=30_000)


if __name__ == "__main__":
    main()
