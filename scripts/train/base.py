"""Train a small model on texts and write it as GGUF files with a model card.

Usage: python -m scripts.train.base TEXTS OUT_DIR --name NAME [--evaluate FILE...]

TEXTS is a folder of .txt files, to train a model that writes like them, or a .jsonl (.xz) file of
sentences with their translations (doc, src, and the code of the other language), to train a
translator (--languages).

OUT_DIR gets the tokenizer, the checkpoint of the run, a Hugging Face checkpoint (hf/), the model as
NAME-f16.gguf and NAME-q8_0.gguf, and its card NAME.md. Running the same command again continues an
interrupted run; finished steps are not repeated. A CUDA GPU is used if there is one. Progress goes
to stderr and, as JSON lines, to OUT_DIR/log.jsonl.

The recipe: byte-level BPE; a Llama with tied embeddings, its output projections initialised to
zero; Muon on the matrices of the layers, AdamW on embeddings and norms; a short warm-up, then a
constant learning rate that falls linearly to zero over the last half; short windows first, the
whole context at the end.
"""

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tokenizers import Tokenizer

from scripts.train.card import Facts, prose, translations, write_card
from scripts.train.corpus import Corpus, SentencePair, read_parallel, read_texts
from scripts.train.data import Data, batches, encode_pairs, encode_texts, train_tokenizer
from scripts.train.export import check_tokenizer, export
from scripts.train.recipe import Recipe
from scripts.train.run import TrainingRun

N_CHECKED: Final = 131_072
"""Held-out tokens to score during training."""
SAVE_SECONDS: Final = 180
"""Seconds between two checkpoints."""


def read_corpus(arguments: argparse.Namespace, seed: int) -> Corpus:
    """Read texts from a folder, or pairs from a file."""
    path: Path = arguments.texts
    if path.is_file():
        languages = (arguments.languages[0], arguments.languages[1])
        return read_parallel(path, languages, arguments.share, seed)
    return read_texts(path)


def encode(tokenizer: Tokenizer, pairs: list[SentencePair], *, parallel: bool) -> Data:
    """Tokens of pairs, or of texts if not ``parallel``."""
    if parallel:
        return encode_pairs(tokenizer, pairs)
    return encode_texts(tokenizer, (pair.translation for pair in pairs))


def strings(pairs: list[SentencePair]) -> list[str]:
    """All texts in ``pairs``, for the tokenizer."""
    return [text for pair in pairs for text in pair if text]


def train(
    run: TrainingRun,
    data: Data,
    heldout: Data,
    bytes_per_label: float,
    log: Path,
    snapshots: Mapping[int, Callable[[], object]],
) -> None:
    """Train to the end of the recipe, with a log and a checkpoint every few minutes.

    Args:
        run: the run, fresh or resumed.
        data: data to train on.
        heldout: data to score.
        bytes_per_label: held-out bytes per scored token, to compute bits per byte.
        log: file to append JSON lines to.
        snapshots: step -> function to call after it.
    """
    recipe = run.recipe
    window = recipe.short_context
    check = heldout.rows(heldout.windows(window)[: N_CHECKED // window], window)
    begun, first, saved = time.monotonic(), run.step, time.monotonic()
    losses: list[float] = []

    def note(**entry: Any) -> None:
        line = json.dumps({"step": run.step, **entry})
        with log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, file=sys.stderr, flush=True)

    for batch in batches(data, recipe, run.step):
        losses.append(run.learn(batch))
        last = run.step == recipe.steps
        seconds = time.monotonic() - begun
        rate = (run.step - first) / seconds
        if run.step % 20 == 0 or last:
            note(
                loss=round(float(np.mean(losses)), 4),
                tokens_per_s=round(rate * recipe.batch),
                eta_s=round((recipe.steps - run.step) / rate),
            )
            losses.clear()
        if run.step % 200 == 0 or last:
            loss = run.loss(check, learn=False)
            bits = loss / np.log(2) / bytes_per_label
            note(heldout_loss=round(loss, 4), heldout_bits=round(float(bits), 4))
        if run.step in snapshots:
            snapshots[run.step]()
        if time.monotonic() - saved > SAVE_SECONDS or last:
            run.seconds += time.monotonic() - saved
            run.save()
            saved = time.monotonic()


def machine() -> str:
    """The hardware of the run, for the card."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} threads of a {platform.machine()} CPU"


def parse() -> tuple[argparse.Namespace, Recipe]:
    """Parse the command line; every field of the recipe is a flag."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.train.base", description=summary)
    parser.add_argument("texts", type=Path, metavar="TEXTS")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    parser.add_argument("--name", required=True, help="name of the model's files")
    parser.add_argument(
        "--languages", nargs=2, metavar=("FROM", "TO"), default=("fr", "en"),
        help="language codes of source and target in a .jsonl file",
    )  # fmt: skip
    parser.add_argument(
        "--share", action="append", type=share, default=[], metavar="PATTERN=SHARE",
        help="keep only this share of the documents whose names match (.jsonl)",
    )  # fmt: skip
    parser.add_argument(
        "--snapshots",
        type=int,
        default=1,
        help="number of GGUFs to write, evenly spread over the run, including the last one",
    )
    parser.add_argument(
        "--evaluate", type=Path, nargs="+", default=[], metavar="FILE",
        help="texts on which to measure bits per byte, for the card",
    )  # fmt: skip
    parser.add_argument(
        "--against", type=Path, nargs="+", default=[], metavar="MODEL.gguf",
        help="other models to measure on the same texts",
    )  # fmt: skip
    parser.add_argument("--data", default="", help="description of the texts, for the card")
    parser.add_argument("--licence", default="", help="licence of the texts, for the card")
    for field in fields(Recipe):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=type(field.default), default=field.default)
    arguments = parser.parse_args()
    recipe = Recipe(**{field.name: getattr(arguments, field.name) for field in fields(Recipe)})
    return arguments, recipe


def share(text: str) -> tuple[str, float]:
    """Parse PATTERN=SHARE."""
    pattern, _, value = text.rpartition("=")
    return pattern, float(value)


def main() -> None:
    """Parse the command line and do all steps that are left."""
    arguments, recipe = parse()
    out: Path = arguments.out_dir
    corpus = read_corpus(arguments, recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    kept = out / "recipe.json"
    wanted = asdict(recipe) | {"share": [list(pair) for pair in arguments.share]}
    if kept.exists() and json.loads(kept.read_text()) != wanted:
        raise SystemExit(f"{kept}: another recipe was begun here; choose another OUT_DIR")
    kept.write_text(json.dumps(wanted, indent=1))

    tokenizer_path = out / "tokenizer.json"
    if not tokenizer_path.exists():
        texts = strings(corpus.trained)
        special = [f"<|{code}|>" for code in corpus.languages or ()]
        train_tokenizer(texts, tokenizer_path, recipe.vocab_size, *special)
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    for path, pairs in (("train.npz", corpus.trained), ("heldout.npz", corpus.heldout)):
        if not (out / path).exists():
            parallel = corpus.languages is not None
            encode(tokenizer, pairs, parallel=parallel).save(out / path)
    data, heldout = (Data.load(out / path) for path in ("train.npz", "heldout.npz"))
    n_tokens = len(data.tokens)
    if n_tokens < 2 * max(recipe.batch, recipe.context) or len(heldout.tokens) <= recipe.context:
        raise SystemExit(f"{arguments.texts}: {n_tokens} tokens; too few for this recipe")
    n_bytes = sum(len(pair.translation.encode()) for pair in corpus.heldout)
    bytes_per_label = n_bytes / int(heldout.loss_mask.sum())

    run = TrainingRun(recipe, out / "checkpoint.pt")
    steps = [recipe.steps * k // arguments.snapshots for k in range(1, arguments.snapshots)]
    snapshots = {
        step: partial(export, run.model, out, f"{arguments.name}-{step}", corpus.languages)
        for step in steps
    }
    train(run, data, heldout, bytes_per_label, out / "log.jsonl", snapshots)
    window = recipe.short_context
    loss = run.loss(heldout.rows(heldout.windows(window), window), learn=False)
    model = export(run.model, out, arguments.name, corpus.languages)
    evaluated = [file.read_text(encoding="utf-8") for file in arguments.evaluate]
    checked = [*strings(corpus.heldout), *evaluated]
    check_tokenizer(tokenizer, model, checked)
    facts = Facts(
        name=arguments.name,
        parameters=sum(parameter.numel() for parameter in run.model.parameters()),
        command=" ".join(
            ["python -m scripts.train.base TEXTS OUT_DIR --name", arguments.name]
            + [f"--share '{pattern}={share}'" for pattern, share in arguments.share]
        ),
        recipe=recipe,
        corpus=corpus.description,
        n_tokens=n_tokens,
        machine=machine(),
        hours=run.seconds / 3600,
        heldout_loss=loss,
        heldout_bits=loss / math.log(2) / bytes_per_label,
        n_checked=len(checked),
        checked_bytes=sum(len(text.encode()) for text in checked),
        data=arguments.data,
        licence=arguments.licence,
    )
    if corpus.languages is None:
        parts = prose(model, arguments.evaluate, arguments.against)
    else:
        parts = translations(model, corpus.languages, corpus.heldout)
    write_card(out / f"{arguments.name}.md", facts, parts)


if __name__ == "__main__":
    main()
