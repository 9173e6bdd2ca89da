"""Measure the cost of moving positions with SelfExtend, in prefill and in generation.

Usage: python -m scripts.profiling.self_extend MODEL.gguf [-c 16384] [--generate 2048] [-t THREADS]

Two contexts take turns decoding the same random tokens, one with SelfExtend (`auto`), one without;
the difference of their times is the cost. They decode half of the context in batches of 512, then
--generate tokens one by one, then the rest in batches. Prints a line of JSON. Seconds are CPU time,
so that other work on the machine matters less.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from templora_edge.engine import LlamaEngine
from templora_edge.models.base_gguf import BaseGguf
from templora_edge.models.rope import Scaling
from templora_edge.options import Options, RopeOptions, SelfExtendOptions


def batches(n_ctx: int, n_generate: int) -> Iterator[tuple[str, int, int]]:
    """(phase, begin, end) of every decode."""
    middle = n_ctx // 2 // 512 * 512
    for begin in range(0, middle, 512):
        yield "prefill", begin, begin + 512
    for begin in range(middle, middle + n_generate):
        yield "generation", begin, begin + 1
    for begin in range(middle + n_generate, n_ctx, 512):
        yield "prefill", begin, min(begin + 512, n_ctx)


def main() -> None:
    """Parse the command line, measure, print."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.profiling.self_extend", description=summary)
    parser.add_argument("model", type=Path, metavar="MODEL.gguf")
    parser.add_argument("-c", dest="n_ctx", type=int, default=16_384)
    parser.add_argument("--generate", type=int, default=2048)
    parser.add_argument("-t", dest="threads", type=int, default=1)
    arguments = parser.parse_args()
    n_ctx: int = arguments.n_ctx
    trained = Scaling.of(BaseGguf(arguments.model), RopeOptions()).n_trained
    chosen = SelfExtendOptions.for_length(n_ctx, trained)
    if chosen is None:
        raise SystemExit(
            f"-c {n_ctx}: within the {trained} tokens that the model was trained on; expected more"
        )
    tokens = [int(token) for token in np.random.default_rng(0).integers(10, 1000, n_ctx)]
    seconds = {phase: [0.0, 0.0] for phase in ("prefill", "generation")}
    wanted = Options().changed(n_ctx=n_ctx, n_threads=arguments.threads)
    options = wanted.resolve(BaseGguf(arguments.model)).engine
    with (
        LlamaEngine(arguments.model, options) as plain,
        LlamaEngine(arguments.model, replace(options, self_extend=chosen)) as extended,
    ):
        for phase, begin, end in batches(n_ctx, arguments.generate):
            for index, engine in enumerate((plain, extended)):
                started = time.process_time()
                engine.decode(tokens[begin:end])
                seconds[phase][index] += time.process_time() - started
    seconds["both"] = [sum(parts) for parts in zip(*seconds.values(), strict=True)]
    costs = {phase: 100 * (after / before - 1) for phase, (before, after) in seconds.items()}
    result = {
        "model": arguments.model.name,
        "n_ctx": n_ctx,
        "group": chosen.group,
        "window": chosen.window,
        "seconds": seconds,
        "cost_percent": costs,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
