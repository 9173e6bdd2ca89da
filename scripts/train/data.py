"""Token sequences that a model is trained on, and the batches made of them.

A translator is trained on one format, which is also the prompt template in its GGUF (export.py):

    END <|fr|> source <|en|> translation END <|fr|> source <|en|> translation END ...
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from scripts.train.corpus import SentencePair
from scripts.train.recipe import Recipe
from templora_edge.host.files import replacing

END: Final = "<|endoftext|>"
"""Text of token 0, which precedes every text and segment, and ends generation."""
IGNORED: Final = -100
"""Label of a token without loss (torch's `cross_entropy`)."""

Tokens = npt.NDArray[np.uint16]
Batch = tuple[torch.Tensor, torch.Tensor]
"""Inputs and labels, (rows, window) both."""


@dataclass(frozen=True)
class Data:
    """One long sequence of tokens."""

    tokens: Tokens
    loss_mask: npt.NDArray[np.bool_]
    """Whether each token has a loss: all tokens of a text, and translations in pairs."""
    begins: npt.NDArray[np.int64] | None = None
    """Positions at which windows may begin; None is all."""

    @classmethod
    def of_text(cls, tokens: Tokens) -> "Data":
        """Data of plain text, with a loss on all ``tokens``."""
        return cls(tokens, np.ones(len(tokens), dtype=np.bool_))

    def save(self, path: Path) -> None:
        """Write the data to ``path``, an .npz file."""
        begins = {} if self.begins is None else {"begins": self.begins}
        with replacing(path, "OUT_DIR") as temporary, temporary.open("wb") as out:
            np.savez(out, tokens=self.tokens, loss_mask=self.loss_mask, **begins)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> "Data":
        """Read the data that `save` wrote."""
        with np.load(path) as arrays:
            return cls(arrays["tokens"], arrays["loss_mask"], arrays.get("begins"))

    def rows(self, starts: Sequence[int] | npt.NDArray[np.int64], window: int) -> Batch:
        """The windows of ``window`` tokens that begin at ``starts``."""
        at = np.asarray(starts)[:, None] + np.arange(window + 1)  # (rows, window + 1)
        tokens = torch.from_numpy(self.tokens[at].astype(np.int64))
        mask = torch.from_numpy(self.loss_mask[at])
        return tokens[:, :-1], tokens[:, 1:].where(mask[:, 1:], IGNORED)

    def windows(self, window: int, first: int = 0) -> npt.NDArray[np.int64]:
        """Starts of consecutive windows, from token ``first`` on."""
        grid = np.arange(first, len(self.tokens) - window - 1, window)
        if self.begins is None:
            return grid
        nearest = np.searchsorted(self.begins, grid)
        starts = self.begins[nearest[nearest < len(self.begins)]]
        return np.unique(starts[starts + window < len(self.tokens)])


def batches(data: Data, recipe: Recipe, begin: int) -> Iterator[Batch]:
    """Batches from step ``begin`` on, with the windows in a new order in each epoch."""
    step = epoch = 0
    while step < recipe.steps:
        window = recipe.window(step)
        rows = recipe.batch // window
        rng = np.random.default_rng((recipe.seed, epoch))
        starts = data.windows(window, int(rng.integers(window)))
        rng.shuffle(starts)
        for first in range(0, len(starts) - rows + 1, rows):
            if step == recipe.steps or recipe.window(step) != window:
                break
            if step >= begin:
                yield data.rows(starts[first : first + rows], window)
            step += 1
        epoch += 1


def train_tokenizer(texts: Iterable[str], path: Path, vocab_size: int, *special: str) -> None:
    """Train a byte-level BPE tokenizer with GPT-2's word pattern, which llama.cpp knows.

    Args:
        texts: texts to train on.
        path: file to write.
        vocab_size: number of tokens.
        special: further special tokens, after END.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END, *special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((line for text in texts for line in io.StringIO(text)), trainer)
    with replacing(path, "OUT_DIR") as temporary:
        tokenizer.save(str(temporary))


def encode_texts(tokenizer: Tokenizer, texts: Iterable[str]) -> Data:
    """Tokens of all ``texts``, with END before each."""
    parts = [np.array([0, *tokenizer.encode(text).ids], dtype=np.uint16) for text in texts]
    return Data.of_text(np.concatenate(parts))


def encode_pairs(tokenizer: Tokenizer, pairs: Iterable[SentencePair]) -> Data:
    """Tokens of ``pairs`` in the format above, with a loss on translations and the END after."""
    tokens: list[Tokens] = []
    masks: list[npt.NDArray[np.bool_]] = []
    begins: list[int] = []
    position = 0
    for pair in pairs:
        source, translation = (
            tokenizer.encode(text, add_special_tokens=False).ids for text in pair
        )
        ids = [0, 1, *source, 2, *translation]
        mask = np.zeros(len(ids), dtype=np.bool_)
        mask[len(source) + 3 :] = True
        mask[0] = True  # END, which ends the pair before
        tokens.append(np.array(ids, dtype=np.uint16))
        masks.append(mask)
        begins.append(position)
        position += len(ids)
    return Data(np.concatenate(tokens), np.concatenate(masks), np.array(begins, dtype=np.int64))
