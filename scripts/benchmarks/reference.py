"""Measure the product against the paper's algorithm in transformers and peft, on one machine.

Usage: python -m scripts.benchmarks.reference MODEL [--tokens N] [-c W] [-t THREADS] [--block Δ]
           [--presets NAME...] [--dtype {auto,bf16,fp32}]

Both write at least N tokens in whole blocks on the same base, dequantized for the reference, and
learn each block at the same Δ and L_T: the reference by the paper's rule, the product by each
preset, at the paper's rate for text of its own. llama.cpp alone writes as many (the product with
--no-templora). They run one after the other, in processes of their own, after a block to warm up.
Memory is the peak of private memory (Linux: RssAnon) from then on, the
product's that of its two processes. The last line is JSON.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from scripts.benchmarks.models import METAVAR, model
from scripts.benchmarks.runs import machine
from templora_edge import TempLora
from templora_edge.engine import Model
from templora_edge.evaluation.bench import SAMPLING, endless_blocks, random_tokens
from templora_edge.host.private_peak import PrivatePeak
from templora_edge.models.base_gguf import BaseGguf
from templora_edge.options import PAPER, Options, Preset, TrainDtype

Figures = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """What both sides do."""

    model: Path
    options: Options
    blocks: int
    """Number of blocks that are written and learned while time is measured."""


def measure_reference(what: Comparison) -> Figures:
    """Figures of the paper's algorithm."""
    from scripts.benchmarks.paper import PaperLoop
    from templora_edge.training.precision import choose_dtype

    base = BaseGguf(what.model)
    options = what.options.changed(preset=Preset.PAPER).resolve(base)
    with Model(what.model) as served:
        head = served.vocab.head
        n_tokens = options.blocks.train_prefix_len + options.blocks.block_len
        text = random_tokens(served.vocab, n_tokens)
    dtype = choose_dtype(options.training.train_dtype)
    seconds = {"write": 0.0, "learn": 0.0}

    def timed(step: str, work: Callable[[], object]) -> None:
        begun = time.perf_counter()
        work()
        seconds[step] += time.perf_counter() - begun

    loop = PaperLoop(base, options, dtype, head, text)
    with PrivatePeak(os.getpid()) as peak:
        loop.learn()
        for _ in range(what.blocks):
            timed("write", lambda: loop.write(SAMPLING))
            timed("learn", loop.learn)
        total = sum(seconds.values())
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "tokens_per_s": what.blocks * options.blocks.block_len / total,
        "seconds": seconds,
        "private_peak_bytes": peak.n_bytes,
        "settings": options.settings(),
    }


def measure_product(what: Comparison) -> Figures:
    """Figures of `TempLora` with the preset in the options."""
    with TempLora(what.model, what.options, past_training=True) as session, ExitStack() as stack:
        pids = [os.getpid()] + ([session.trainer.pid] if session.trainer else [])
        peaks = [stack.enter_context(PrivatePeak(pid)) for pid in pids]
        blocks = endless_blocks(session)
        next(blocks)
        begun = time.perf_counter()
        written = list(islice(blocks, what.blocks))
        total = time.perf_counter() - begun
        used = [peak.n_bytes for peak in peaks]
        settings = session.options.settings()
    return {
        "tokens_per_s": sum(report.tokens for report in written) / total,
        "seconds": {
            "write": sum(report.generate_s for report in written),
            "learn": sum(report.train_s for report in written),
            "swap": sum(report.convert_s + report.swap_s for report in written),
        },
        "private_peak_bytes": sum(used),
        "settings": settings,
    }


def apart(work: Callable[[Comparison], Figures], what: Comparison) -> Figures:
    """The result of ``work`` in a new process, whose memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, what).result()


def compare(what: Comparison, presets: list[Preset]) -> Iterator[tuple[str, Figures]]:
    """Figures of the reference, of llama.cpp alone, then of the product with each preset."""
    reference = apart(measure_reference, what)
    yield "reference", reference
    plain = what.options.changed(templora=False)
    alone = apart(measure_product, Comparison(what.model, plain, what.blocks))
    yield "llama.cpp alone", alone
    for preset in presets:
        changed = what.options.changed(preset=preset)
        product = apart(measure_product, Comparison(what.model, changed, what.blocks))
        speed = product["tokens_per_s"] / reference["tokens_per_s"]
        memory = product["private_peak_bytes"] / reference["private_peak_bytes"]
        longer = alone["tokens_per_s"] / product["tokens_per_s"]
        ratios = {"speed_ratio": speed, "memory_ratio": memory, "time_over_llama_cpp": longer}
        yield preset, product | ratios


def main() -> None:
    """Parse the command line, measure, print."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.benchmarks.reference", description=summary)
    parser.add_argument("model", type=model, metavar=METAVAR)
    parser.add_argument("--tokens", type=int, default=1024, metavar="N", help="tokens to write")
    parser.add_argument("-c", dest="n_ctx", type=int, default=1024, metavar="W", help="context")
    parser.add_argument("-t", dest="threads", type=int, default=0, help="0: all physical cores")
    parser.add_argument("--block", type=int, default=256, metavar="Δ")
    parser.add_argument(
        "--presets", type=Preset, nargs="+", choices=list(Preset), default=[Preset.DEFAULT]
    )
    parser.add_argument(
        "--dtype",
        type=TrainDtype,
        choices=list(TrainDtype),
        default=TrainDtype.AUTO,
        help="precision of training, and of the reference's weights",
    )
    given = parser.parse_args()
    options = Options().changed(
        n_ctx=given.n_ctx,
        n_threads=given.threads,
        block_len=given.block,
        train_dtype=given.dtype,
        own_learning_rate=PAPER.own_learning_rate,
        measure_after=False,
    )
    what = Comparison(given.model, options, -(-given.tokens // given.block))
    found: Figures = {
        "model": given.model.name,
        "machine": machine(),
        "tokens": what.blocks * given.block,
    }
    for name, figures in compare(what, given.presets):
        rate, used = figures["tokens_per_s"], figures["private_peak_bytes"] / 2**20
        print(f"{name}: {rate:.1f} tokens/s, {used:,.0f} MiB", file=sys.stderr, flush=True)
        found[name] = figures
    print(json.dumps(found))


if __name__ == "__main__":
    main()
