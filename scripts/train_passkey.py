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
    vocab_size=400, layers=4, width=128, heads=4, kv_heads=4, ffn=256, context=256, batch=32
)
STEPS: Final = 4000
RATE: Final = 2e-3
CHECK_EVERY: Final = 100
GOOD_ENOUGH: Final = 0.995
"""Share of right keys on new texts, three checks in a row."""


def text(rng: np.random.Generator, n_fillers: int) -> tuple[str, str]:
    """A text of the test with its sentences in any order, and its answer."""
    key = str(rng.integers(10_000, 100_000))
    sentences = FILLER.split(".")[:-1]
    fillers = ["".join(f"{s}." for s in rng.permutation(sentences)) for _ in range(n_fillers)]
    fillers.insert(int(rng.integers(0, n_fillers + 1)), NEEDLE.format(key=key))
    return INTRO + "".join(fillers) + QUESTION, f" {key}."


def batch(
    tokenizer: Tokenizer, rng: np.random.Generator, n_fillers: int, rows: int
) -> tuple[torch.Tensor, int]:
    """Token ids (rows, T), each text with its answer, and how many tokens an answer has."""
    pairs = [text(rng, n_fillers) for _ in range(rows)]
    ids = [[0, *tokenizer.encode(whole + answer).ids] for whole, answer in pairs]
    return torch.tensor(ids), len(tokenizer.encode(pairs[0][1]).ids)


def positions(rng: np.random.Generator, rows: int, n_tokens: int) -> torch.Tensor:
    """Position ids (rows, T): of half of the rows one after another, of the others with gaps.

    Gaps, as in Ruoss et al. (arXiv 2305.16843), keep the model from counting tokens where it should
    look for words; no position is one that the trained context does not have.
    """
    there = np.tile(np.arange(n_tokens), (rows, 1))
    for row in range(rows // 2):
        there[row] = np.sort(rng.choice(RECIPE.context, n_tokens, replace=False))
    return torch.tensor(there)


def main() -> None:
    """Train until keys are found, then write the GGUF."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out_dir", type=Path)
    out: Path = parser.parse_args().out_dir
    out.mkdir(parents=True, exist_ok=True)
    words = INTRO + FILLER + NEEDLE.format(key="") + QUESTION
    train_tokenizer([words], out / "tokenizer.json", RECIPE.vocab_size)
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    rng = np.random.default_rng(RECIPE.seed)
    frame = batch(tokenizer, rng, 0, 1)[0].shape[1]
    most = (RECIPE.context - frame) // len(tokenizer.encode(FILLER).ids)
    model = build_model(RECIPE)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    good = 0
    for step in range(1, STEPS + 1):
        ids, n_answer = batch(tokenizer, rng, int(rng.integers(1, most + 1)), RECIPE.batch)
        places = positions(rng, len(ids), ids.shape[1] - 1)
        logits = model(input_ids=ids[:, :-1], position_ids=places, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
        ).view(len(ids), -1)
        # the digits of the answer count as much as all the rest
        total = loss.mean() + loss[:, -n_answer:].mean()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % CHECK_EVERY == 0:
            right = (logits.argmax(-1) == ids[:, 1:])[:, -n_answer:].all(1).float().mean().item()
            line = {"step": step, "loss": round(loss.mean().item(), 4), "found": right}
            print(json.dumps(line), file=sys.stderr, flush=True)
            good = good + 1 if right >= GOOD_ENOUGH else 0
            if good == 3:
                break
    convert(save_hf(model, out), out / "passkey-f16.gguf", "f16")


if __name__ == "__main__":
    main()
