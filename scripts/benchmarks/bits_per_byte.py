"""Measure bits per byte of GGUF models on the first 100,000 bytes of each text.

Usage: python -m scripts.benchmarks.bits_per_byte MODEL... --on FILE...

MODEL is the path of a GGUF, or the name of one in models/.

llama.cpp scores windows of the model's trained context that overlap by half, so that every token
after the first window is preceded by at least half a window. Bits per byte compare models with
different tokenizers. Prints a table; the last line is JSON.
"""

import argparse
import json
import math
import sys
from pathlib import Path

from scripts.benchmarks.models import METAVAR, model
from scripts.benchmarks.tables import table
from templora_edge.engine import LlamaEngine
from templora_edge.models.base_gguf import BaseGguf
from templora_edge.options import Options

N_BYTES = 100_000


def bits_per_byte(engine: LlamaEngine, text: str) -> float:
    """Bits per byte of ``text``, scored in windows of n_ctx that overlap by half."""
    tokens = [*engine.model.vocab.head, *engine.model.vocab.tokenize(text)]
    half = engine.n_ctx // 2
    nats = 0.0
    for middle in range(0, len(tokens), half):
        start = max(0, middle - half)
        window = tokens[start : middle + half]
        engine.clear()
        nll = engine.score(window[:1], window[1:])
        nats += sum(nll[middle - start - 1 :] if middle else nll)
    return nats / math.log(2) / len(text.encode())


def measure(path: Path, texts: dict[str, str]) -> dict[str, float]:
    """Bits per byte of each of ``texts``, and their mean weighted by bytes as ``total``."""
    base = BaseGguf(path)
    options = Options().changed(n_ctx=base.n_ctx_train).resolve(base)
    with LlamaEngine(path, options.engine) as engine:
        result = {}
        for name, text in texts.items():
            result[name] = bits_per_byte(engine, text)
            print(f"{path.name}  {name}  {result[name]:.4f}", file=sys.stderr, flush=True)
    n_bytes = [len(text.encode()) for text in texts.values()]
    weighted = sum(bits * n for bits, n in zip(result.values(), n_bytes, strict=True))
    return {**result, "total": weighted / sum(n_bytes)}


def read(files: list[Path]) -> dict[str, str]:
    """The beginnings of ``files`` by name, without a last character that would be cut in two."""
    return {file.name: file.read_bytes()[:N_BYTES].decode("utf-8", "ignore") for file in files}


def comparison(results: dict[str, dict[str, float]]) -> str:
    """A Markdown table with a row for each text and a column for each model."""
    texts = next(iter(results.values()))
    rows = [[name, *(f"{bits[name]:.4f}" for bits in results.values())] for name in texts]
    return table(["text", *results], rows)


def main() -> None:
    """Parse arguments, measure, print."""
    summary = (__doc__ or "").splitlines()[0]
    name = "python -m scripts.benchmarks.bits_per_byte"
    parser = argparse.ArgumentParser(name, description=summary)
    parser.add_argument("models", type=model, nargs="+", metavar=METAVAR)
    parser.add_argument("--on", type=Path, nargs="+", required=True, metavar="FILE")
    arguments = parser.parse_args()
    texts = read(arguments.on)
    results = {path.name: measure(path, texts) for path in arguments.models}
    print(comparison(results))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
