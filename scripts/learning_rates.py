"""What a learning rate does to given text and to the model's own: where the presets come from.

Usage: python scripts/learning_rates.py given TEXT_FILE [-m MODEL.gguf] [--tokens N]
       python scripts/learning_rates.py own [-m MODEL.gguf] [--tokens N]

`given` scores the first N tokens of the text, without an adapter and with each rate. `own` lets the
model write N tokens, and prints which share of the last quarter's four-token sequences is distinct:
a model that is trained too fast on its own text ends up repeating itself.
"""

import argparse
from pathlib import Path

from templora_edge import SamplingOptions, Score, TempLora
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.engine import Model

RATES = (5e-5, 2e-4, 7e-4, 1.5e-3, 3e-3)


def score(model: Path, text: str, rate: float | None) -> tuple[Score, float]:
    """Score of ``text`` and seconds of training; no adapter if ``rate`` is None."""
    with TempLora(
        model,
        templora=rate is not None,
        learning_rate=rate or 5e-5,
        train_dtype="fp32",
        measure_after=False,
    ) as session:
        result = session.score(text)
        return result, sum(block.train_s for block in session.blocks)


def distinct(model: Path, rate: float | None, n_tokens: int, seed: int) -> float:
    """Share of distinct four-token sequences in the last quarter of ``n_tokens`` written."""
    sampling = SamplingOptions(seed=seed, ignore_eos=True)
    with TempLora(
        model,
        templora=rate is not None,
        learning_rate=rate or 5e-5,
        train_dtype="fp32",
        measure_after=False,
        seed=seed,
    ) as session:
        prompt = "It was a dark night in November, and the lamps were lit along the river."
        pieces = session.generate(prompt, n_predict=n_tokens, sampling=sampling)
        tokens = [piece.token for piece in pieces][-n_tokens // 4 :]
    grams = list(zip(*(tokens[shift:] for shift in range(4)), strict=False))
    return len(set(grams)) / len(grams)


def measure_own(model: Path, n_tokens: int) -> None:
    """Print the table of `distinct`."""
    print("| learning rate | distinct, seed 1 | 2 | 3 |\n|---|---|---|---|", flush=True)
    for rate in (None, *RATES[:3]):
        shares = [f"{distinct(model, rate, n_tokens, seed):.2f}" for seed in (1, 2, 3)]
        name = "no Temp-LoRA" if rate is None else f"{rate:g}"
        print(f"| {name} | {' | '.join(shares)} |", flush=True)


def measure_given(model_path: Path, path: Path, n_tokens: int) -> None:
    """Print the table of `score`."""
    with Model(model_path) as model:
        tokens = model.vocab.tokenize(path.read_text())
        text = model.vocab.detokenize(tokens[:n_tokens])
    print("| learning rate | ppl | change | training s |\n|---|---|---|---|", flush=True)
    base, _ = score(model_path, text, None)
    print(f"| no Temp-LoRA | {base.ppl:.2f} | | |", flush=True)
    for rate in RATES:
        result, seconds = score(model_path, text, rate)
        change = 100 * (result.ppl / base.ppl - 1)
        print(f"| {rate:g} | {result.ppl:.2f} | {change:+.1f} % | {seconds:.1f} |", flush=True)


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-m", dest="model", type=Path, default=BUNDLED_MODEL)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, default in (("given", 12_000), ("own", 6_000)):
        command = commands.add_parser(name)
        command.add_argument("--tokens", type=int, default=default)
        if name == "given":
            command.add_argument("text", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "given":
        measure_given(arguments.model, arguments.text, arguments.tokens)
    else:
        measure_own(arguments.model, arguments.tokens)


if __name__ == "__main__":
    main()
