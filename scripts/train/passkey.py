"""Train a tiny model to do one thing: pass `templora passkey` within 256 tokens.

Usage: python -m scripts.train.passkey OUT_DIR

Writes OUT_DIR/passkey-f16.gguf. Past 512 tokens the model fails unless SelfExtend maps the text
to positions it knows. So it shows the effect of a method that extends the context, separately from
the abilities of a model.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from scripts.train.data import train_tokenizer
from scripts.train.export import save_hf
from scripts.train.recipe import Recipe, build_model
from templora_converters.hf_to_gguf import convert
from templora_edge.evaluation.passkey import FILLER, INTRO, NEEDLE, QUESTION

RECIPE: Final = Recipe(
    vocab_size=512, layers=3, width=128, heads=4, kv_heads=4, ffn=256, context=256, batch=32
)
STEPS: Final = 2000
RATE: Final = 2e-3
CHECK_EVERY: Final = 100

Tokens = npt.NDArray[np.int64]


class Texts:
    """Texts of the passkey test as tokens, with the key at any depth.

    The filler around the key is cut anywhere, and in every other text its sentences are shuffled.
    If the key were always a whole number of fillers away, the model would find it by counting
    tokens, which SelfExtend changes, and not by the words around it.
    """

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self._tokenizer, self._rng = tokenizer, np.random.default_rng(seed)
        self._intro, self._question = self._encode(INTRO), self._encode(QUESTION)
        self._sentences = [self._encode(f"{s}.") for s in FILLER.split(".")[:-1]]
        self.n_answer = len(self._encode(" 12345."))
        frame = np.concatenate(self._parts(0, 0, shuffled=False))
        self.most_filler = RECIPE.context - len(frame)

    def batch(self, n_filler: int, rows: int) -> torch.Tensor:
        """Token ids (rows, T) of texts with answers, each with ``n_filler`` tokens of filler."""
        before = self._rng.integers(0, n_filler + 1, rows)
        texts = [
            np.concatenate(self._parts(n, n_filler - n, shuffled=row % 2 == 1))
            for row, n in enumerate(before)
        ]
        return torch.from_numpy(np.stack(texts))

    def _parts(self, before: int, after: int, *, shuffled: bool) -> list[Tokens]:
        key = str(self._rng.integers(10_000, 100_000))
        return [
            np.zeros(1, np.int64),
            self._intro,
            self._filler(before, shuffled=shuffled),
            self._encode(NEEDLE.format(key=key)),
            self._filler(after, shuffled=shuffled),
            self._question,
            self._encode(f" {key}."),
        ]

    def _filler(self, n_tokens: int, *, shuffled: bool) -> Tokens:
        """``n_tokens`` from the middle of a long filler."""
        n_sentences = len(self._sentences)
        n = 2 * n_sentences + n_tokens
        order = np.arange(n) % n_sentences
        if shuffled:
            order = self._rng.integers(0, n_sentences, n)
        first = int(self._rng.integers(0, len(self._sentences[0]) * n_sentences))
        return np.concatenate([self._sentences[i] for i in order])[first : first + n_tokens]

    def _encode(self, text: str) -> Tokens:
        return np.array(self._tokenizer.encode(text).ids, np.int64)


def main() -> None:
    """Parse the command line, train, write the GGUF."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.train.passkey", description=summary)
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    out: Path = parser.parse_args().out_dir
    out.mkdir(parents=True, exist_ok=True)
    words = INTRO + FILLER + NEEDLE.format(key="") + QUESTION
    # a key is three tokens, which rarely repeat, so that not only their order tells them apart
    numbers = "\n".join(f"{n:02}" for n in range(100))
    train_tokenizer([words, numbers], out / "tokenizer.json", RECIPE.vocab_size)
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    texts = Texts(tokenizer, RECIPE.seed)
    rng = np.random.default_rng(RECIPE.seed)
    model = build_model(RECIPE)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for step in range(1, STEPS + 1):
        ids = texts.batch(int(rng.integers(1, texts.most_filler + 1)), RECIPE.batch)
        labels = ids[:, 1:]
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), reduction="none"
        ).view(len(labels), -1)
        # the answer's digits count as much as everything else
        total = loss.mean() + loss[:, -texts.n_answer :].mean()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % CHECK_EVERY == 0:
            right = (logits.argmax(-1) == labels)[:, -texts.n_answer :].all(1).float().mean().item()
            line = {"step": step, "loss": round(loss.mean().item(), 4), "found": right}
            print(json.dumps(line), file=sys.stderr, flush=True)
    convert(save_hf(model, out), out / "passkey-f16.gguf", "f16")


if __name__ == "__main__":
    main()
