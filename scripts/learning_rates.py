"""Perplexity with Temp-LoRA by learning rate: where the presets come from.

Usage: python scripts/learning_rates.py TEXT_FILE [MODEL.gguf] [--tokens N]

Scores the first N tokens of the text once without an adapter and once with each rate, and prints a
table. The paper's rate for 7B bases, 5e-5, is among them.
"""

import argparse
from pathlib import Path

from templora_edge import Score, TempLora
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.engine import Model

RATES = (5e-5, 2e-4, 7e-4, 1.5e-3, 3e-3)


def score(model: Path, text: str, rate: float | None) -> tuple[Score, float]:
    """Score of ``text`` and seconds of training; no adapter if ``rate`` is None."""
    with TempLora(model, templora=rate is not None, learning_rate=rate) as session:
        result = session.score(text)
        return result, sum(block.train_s for block in session.blocks)


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("model", type=Path, nargs="?", default=BUNDLED_MODEL)
    parser.add_argument("--tokens", type=int, default=12_000)
    arguments = parser.parse_args()
    with Model(arguments.model) as model:
        tokens = model.vocab.tokenize(arguments.text.read_text(), add_special=False)
        text = model.vocab.detokenize(tokens[: arguments.tokens])
    print("| learning rate | ppl | change | training s |\n|---|---|---|---|", flush=True)
    base, _ = score(arguments.model, text, None)
    print(f"| no Temp-LoRA | {base.ppl:.2f} | | |", flush=True)
    for rate in RATES:
        result, seconds = score(arguments.model, text, rate)
        change = 100 * (result.ppl / base.ppl - 1)
        print(f"| {rate:g} | {result.ppl:.2f} | {change:+.1f} % | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
