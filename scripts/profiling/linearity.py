"""Measure whether a block costs the same early and late in a text, in time and memory.

Usage: python -m scripts.profiling.linearity TEXT_FILE [-m MODEL.gguf] [-c N_CTX] [-t THREADS]

Scores the text with Temp-LoRA and compares the median of the 21 blocks around block 20 with that
around block 400. The last line is JSON.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from templora_edge import BlockReport, TempLora

EARLY, LATE, AROUND = 20, 400, 10


def median(blocks: list[BlockReport], centre: int) -> dict[str, float]:
    """Median cost of the blocks around ``centre``: seconds of all steps, and resident bytes."""
    near = blocks[centre - AROUND : centre + AROUND + 1]
    seconds = (b.generate_s + b.train_s + b.convert_s + b.swap_s for b in near)
    return {
        "seconds": statistics.median(seconds),
        "rss_bytes": statistics.median(b.rss_bytes for b in near),
    }


def main() -> None:
    """Parse the command line, measure, print."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.profiling.linearity", description=summary)
    parser.add_argument("text", type=Path, metavar="TEXT_FILE")
    parser.add_argument("-m", dest="model", type=Path, metavar="MODEL.gguf")
    parser.add_argument("-c", dest="n_ctx", type=int, default=0, metavar="N_CTX")
    parser.add_argument("-t", dest="threads", type=int, default=0, help="0: all physical cores")
    given = parser.parse_args()
    with TempLora(
        given.model, n_ctx=given.n_ctx, n_threads=given.threads, measure_after=False
    ) as session:
        wanted = (LATE + AROUND + 2) * session.options.blocks.block_len
        tokens = session.tokenize(given.text.read_text(encoding="utf-8"))[:wanted]
        if len(tokens) < wanted:
            raise SystemExit(f"{given.text}: {len(tokens)} tokens; expected {wanted} or more")
        for event in session.stream_score(tokens):
            if isinstance(event, BlockReport):
                print(f"\rblock {event.index} ", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        early, late = (median(list(session.blocks), centre) for centre in (EARLY, LATE))
    ratios = {name: late[name] / early[name] for name in early}
    print(json.dumps({f"block {EARLY}": early, f"block {LATE}": late, "ratio": ratios}))


if __name__ == "__main__":
    main()
