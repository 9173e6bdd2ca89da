"""Measure methods that extend the context, each with and without Temp-LoRA.

Usage: python -m scripts.benchmarks.long_context RESULTS.jsonl context --books FILE...
           [-m MODEL] [--tokens N] [--seeds N...] [-t THREADS]

Books are scored with a context of 1, 2, 4 and 8 times the 2,048 tokens that the bundled model was
trained on: with the unmodified base, SelfExtend, linear and YaRN scaling of positions, and a
shifted cache. Every run adds a line of JSON to RESULTS.jsonl;
runs that are already there are skipped. `python -m scripts.benchmarks.report long-context` makes
the table.
"""

import argparse
from typing import Final

from scripts.benchmarks.runs import Settings, score_books
from templora_edge.options import RopeOptions, RopeScaling

TRAINED: Final = 2048
FACTORS: Final = (1, 2, 4, 8)


def variants() -> dict[str, Settings]:
    """Method and multiple of the trained context, for example "yarn 4" -> settings."""
    found: dict[str, Settings] = {}
    for factor in FACTORS:
        length = factor * TRAINED
        # a full window keeps half; keeping all but a block would decode it again for every block
        n_ctx: Settings = {"n_ctx": length, "block_len": 256, "prefix_len": length // 2}
        found[f"base {factor}"] = n_ctx
        found[f"shift {factor}"] = n_ctx | {"kv_policy": "shift"}
        if factor == 1:  # nothing to extend or to scale
            continue
        found[f"SelfExtend {factor}"] = n_ctx | {"self_extend": "auto"}
        for scaling in (RopeScaling.LINEAR, RopeScaling.YARN):
            rope = RopeOptions(scaling, freq_scale=1 / factor)
            found[f"{scaling} {factor}"] = n_ctx | {"rope": rope}
    return found


def main() -> None:
    """Parse the command line and do the runs that are missing."""
    summary = (__doc__ or "").splitlines()[0]
    name = "python -m scripts.benchmarks.long_context"
    parser = argparse.ArgumentParser(name, description=summary)
    score_books(parser, {"context": variants()}, tokens=16_000)


if __name__ == "__main__":
    main()
