"""Repeat the paper's experiments (arXiv 2401.11504, section 4.1) on any model and any books.

Usage: python -m scripts.benchmarks.pg19 RESULTS.jsonl EXPERIMENT... --books FILE...
           [-m MODEL.gguf] [--tokens N] [--seed N] [-t THREADS]

EXPERIMENT is any of
  position   perplexity by position in the text, with the default settings
  block      Δ, the tokens between two updates
  policy     the KV policy: reuse, recompute, shift
  window     short W with Temp-LoRA against long W without: perplexity, FLOPs, time, KV memory
  rule       the update rule: learning rate, rank, alpha, epochs, L_T, layers, prefix gradient
  rate       two presets at several learning rates, for pretrained models
  chance     some of these rules, for runs with several seeds

Every run, one variant of one experiment on one book, adds a line of JSON to RESULTS.jsonl; runs
that are already there are skipped, so an interrupted command can be repeated.
`python -m scripts.benchmarks.report pg19` makes the tables.
"""

import argparse
from typing import Final

from scripts.benchmarks.runs import Settings, score_books

PAPER: Final[Settings] = {
    "n_ctx": 1024,
    "block_len": 256,
    "learning_rate": 7e-4,
}
"""Settings of the paper scaled down to the bundled model, with its larger learning rate."""
LEAD: Final[Settings] = {
    "targets": "mlp",
    "prefix_gradient": False,
    "train_prefix_len": 128,
    "alpha": 256,
    "epochs": 1,
}
"""A cheap rule found with a prototype."""

EXPERIMENTS: Final[dict[str, dict[str, Settings]]] = {
    "position": {"paper": {}},
    "block": {f"Δ {n}": {"block_len": n, "prefix_len": 512} for n in (64, 128, 256, 512)},
    "policy": {
        # with the default prefix, a block fills the window and every policy decodes it again
        name: {"kv_policy": name, "prefix_len": 512}
        for name in ("reuse", "recompute", "shift")
    },
    "window": {
        "W 256": {"n_ctx": 256, "block_len": 128},
        "W 512": {"n_ctx": 512},
        "W 512, fast": {"n_ctx": 512, "preset": "fast"},
        "W 1024": {},
        "W 2048": {"n_ctx": 2048},
    },
    "rule": {
        "paper": {},
        "lead": LEAD,
        "fast": {"preset": "fast"},
        "best": {"preset": "best"},
        "fast, last 3 layers": {"preset": "fast", "layers": 3},
        "fast, last 2 layers": {"preset": "fast", "layers": 2},
        "lr 3.5e-4": {"learning_rate": 3.5e-4},
        "lr 1.4e-3": {"learning_rate": 1.4e-3},
        "rank 16": {"rank": 16},
        "rank 128": {"rank": 128},
        "1 epoch": {"epochs": 1},
        "1 epoch, alpha 256": {"epochs": 1, "alpha": 256},
        "L_T 0": {"train_prefix_len": 0},
        "L_T 128": {"train_prefix_len": 128},
        "L_T 512": {"train_prefix_len": 512},
        "MLP only": {"targets": "mlp"},
        "attention only": {"targets": "attention"},
        "prefix only read": {"prefix_gradient": False},
    },
    "rate": {
        f"{preset}, {rate:g}": {"preset": preset, "learning_rate": rate, "prefix_len": 512}
        for preset, rates in {"default": (5e-5,), "fast": (5e-5, 2e-4, 5e-4)}.items()
        for rate in rates
    },
    "chance": {"paper": {}, "lead": LEAD, "fast": {"preset": "fast"}},
}
"""Experiment -> variant -> settings that differ from `PAPER`."""


def main() -> None:
    """Parse the command line and do the runs that are missing."""
    with_paper = {
        name: {variant: PAPER | settings for variant, settings in variants.items()}
        for name, variants in EXPERIMENTS.items()
    }
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.benchmarks.pg19", description=summary)
    score_books(parser, with_paper, tokens=60_000)


if __name__ == "__main__":
    main()
