"""Train a tiny model that can do one thing: `templora passkey`, within 256 tokens.

Usage: python scripts/train_passkey.py OUT_DIR

Writes OUT_DIR/passkey-f16.gguf. Past 256 tokens it fails, unless SelfExtend brings the text back to
positions it knows: what a method makes of the context can be seen apart from what a model can do.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

import numpy as np
import torch
from recipe import Recipe, build_model
from tokenizers import Tokenizer
from train_base import save_hf
from training_data import train_tokenizer

from converters.hf_to_gguf import convert
from templora_edge.tasks.passkey import FILLER, INTRO, NEEDLE, QUESTION

RECIPE: Final = Recipe(
    vocab_size=512, layers=4, width=128, heads=4, kv_heads=4, ffn=256, context=256, batch=32
)
STEPS: Final = 2500
RATE: Final = 2e-3
CHECK_EVERY: Final = 100
MOST_UNEVEN: Final = 0.5
"""Of a text's steps from one position to the next, at most, that are not 1."""


def text(rng: np.random.Generator, n_fillers: int, *, shuffled: bool) -> tuple[str, str]:
    """A text of the test, if ``shuffled`` with its sentences in another order, and its answer."""
    key = str(rng.integers(10_000, 100_000))
    sentences = FILLER.split(".")[:-1]
    order = rng.permutation if shuffled else list
    fillers = ["".join(f"{sentence}." for sentence in order(sentences)) for _ in range(n_fillers)]
    fillers.insert(int(rng.integers(0, n_fillers + 1)), NEEDLE.format(key=key))
    return INTRO + "".join(fillers) + QUESTION, f" {key}."


def batch(
    tokenizer: Tokenizer, rng: np.random.Generator, n_fillers: int, rows: int
) -> tuple[torch.Tensor, int]:
    """Token ids (rows, T), each text with its answer, and how many tokens an answer has."""
    pairs = [text(rng, n_fillers, shuffled=row % 2 == 1) for row in range(rows)]
    ids = [[0, *tokenizer.encode(whole + answer).ids] for whole, answer in pairs]
    return torch.tensor(ids), len(tokenizer.encode(pairs[0][1]).ids)


def positions(rng: np.random.Generator, rows: int, n_tokens: int) -> torch.Tensor:
    """Position ids (rows, T): in every other row, steps of 0 and 2 among those of 1.

    So that tokens are found by what stands before them, not by counting; no position is one that
    the trained context does not have.
    """
    there = np.tile(np.arange(n_tokens), (rows, 1))
    for row in range(1, rows, 2):
        share = rng.uniform(0, MOST_UNEVEN)
        steps = rng.choice(3, n_tokens - 1, p=(share / 2, 1 - share, share / 2))
        uneven = np.concatenate([[0], np.cumsum(steps)])
        if uneven[-1] < RECIPE.context:
            there[row] = uneven
    return torch.from_numpy(there)


def main() -> None:
    """Train, then write the GGUF."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out_dir", type=Path)
    out: Path = parser.parse_args().out_dir
    out.mkdir(parents=True, exist_ok=True)
    words = INTRO + FILLER + NEEDLE.format(key="") + QUESTION
    # a key is three tokens, which seldom repeat: what tells them apart is not their order alone
    numbers = "\n".join(f"{n:02}" for n in range(100))
    train_tokenizer([words, numbers], out / "tokenizer.json", RECIPE.vocab_size)
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    rng = np.random.default_rng(RECIPE.seed)
    frame = batch(tokenizer, rng, 0, 1)[0].shape[1]
    most = (RECIPE.context - frame) // len(tokenizer.encode(FILLER).ids)
    model = build_model(RECIPE)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for step in range(1, STEPS + 1):
        ids, n_answer = batch(tokenizer, rng, int(rng.integers(1, most + 1)), RECIPE.batch)
        labels = ids[:, 1:]
        places = positions(rng, *labels.shape)
        logits = model(input_ids=ids[:, :-1], position_ids=places, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), reduction="none"
        ).view(len(labels), -1)
        # the digits of the answer count as much as all the rest
        total = loss.mean() + loss[:, -n_answer:].mean()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % CHECK_EVERY == 0:
            right = (logits.argmax(-1) == labels)[:, -n_answer:].all(1).float().mean().item()
            line = {"step": step, "loss": round(loss.mean().item(), 4), "found": right}
            print(json.dumps(line), file=sys.stderr, flush=True)
    convert(save_hf(model, out), out / "passkey-f16.gguf", "f16")


if __name__ == "__main__":
    main()
