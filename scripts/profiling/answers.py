"""Measure what translating costs besides llama.cpp's decoding.

Usage: python -m scripts.profiling.answers PAIRS.jsonl [-m MODEL] [-n SEGMENTS] [-t THREADS]

Translates the first segments of PAIRS.jsonl (src) without Temp-LoRA, as a job does, and takes the
time inside of `llama_decode`, from the end of the first segment on, when everything is loaded. The
last line is JSON: seconds, tokens of translations, and the share of the time that went elsewhere:
prompts, tokenizing, sampling, checks, the job's file.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp

from scripts.benchmarks.models import add_model
from templora_edge.assets import BUNDLED_TRANSLATOR
from templora_edge.evaluation.translations import read_side
from templora_edge.options import Options
from templora_edge.translation.answers import Languages
from templora_edge.translation.job.job import Translator
from templora_edge.translation.job.translate_job import TranslateJob


class Timed:
    """A function, and the seconds and calls that it took."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.seconds, self.calls = 0.0, 0

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        begun = time.perf_counter()
        result = self._function(*arguments)
        self.seconds += time.perf_counter() - begun
        self.calls += 1
        return result


def main() -> None:
    """Parse the command line, translate, print."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.profiling.answers", description=summary)
    parser.add_argument("pairs", type=Path, metavar="PAIRS.jsonl")
    add_model(parser, BUNDLED_TRANSLATOR)
    parser.add_argument("-n", dest="segments", type=int, default=60)
    parser.add_argument("-t", dest="threads", type=int, default=0, help="0: all physical cores")
    given = parser.parse_args()
    sources = (read_side(given.pairs, "en").sources or [])[: given.segments]
    decode = Timed(llama_cpp.llama_decode)
    llama_cpp.llama_decode = decode
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "text.txt")
        text.write_text("\n\n".join(sources), encoding="utf-8")
        job = TranslateJob(
            text,
            Path(folder, "out.txt"),
            Languages("fr", "en"),
            given.model,
            Options().changed(n_threads=given.threads, templora=False),
        )
        with Translator(job) as translator:
            steps = iter(translator)
            next(steps)
            begun, decode.seconds, decode.calls = time.perf_counter(), 0.0, 0
            tokens = sum(step.row.tokens for step in steps if step.row is not None)
            seconds = time.perf_counter() - begun
    figures = {
        "model": given.model.name,
        "segments": len(sources),
        "tokens": tokens,
        "seconds": round(seconds, 2),
        "decode_seconds": round(decode.seconds, 2),
        "decode_calls": decode.calls,
        "ms_a_token": round(1000 * seconds / tokens, 2),
        "share_outside": round(1 - decode.seconds / seconds, 4),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
