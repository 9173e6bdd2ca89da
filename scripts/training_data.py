"""What a base is trained on, as tokens: whole texts, or sentences with their translations.

A translator reads, and the engine writes, one format, whatever a segment is:

    END <|fr|> source <|en|> translation END <|fr|> source <|en|> translation END ...

where sentences that follow each other in a document are one segment now and then, as in a
paragraph, and some carry the placeholders that stand for markup.
"""

import io
import json
import lzma
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from recipe import Recipe
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from templora_edge.host.files import replacing

END: Final = "<|endoftext|>"
"""Token 0: before every text and segment, and the end of generation."""
HELDOUT_EVERY: Final = 40
"""One text in so many is held out, and that share of each document of pairs, its end."""
IGNORED: Final = -100
"""The label of a token that is not learned (torch's `cross_entropy`)."""
SEGMENT_SENTENCES: Final = (0.45, 0.2, 0.15, 0.1, 0.05, 0.05)
"""How often a segment has one sentence, two, three, …"""
SEGMENT_CHARACTERS: Final = 600
LINES: Final = 0.25
"""How often the sentences of a segment are lines, as Temp-LoRA is trained on blocks."""
MARKUP: Final = 0.05
"""How often one of a segment's sentences has placeholders."""

Tokens = npt.NDArray[np.uint16]
Batch = tuple[torch.Tensor, torch.Tensor]
"""Inputs and labels, (rows, window) both."""


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    translation: str


@dataclass(frozen=True)
class Data:
    """Tokens in a row."""

    tokens: Tokens
    scored: npt.NDArray[np.bool_]
    """Which are learned: all of a text, of a pair the translation."""
    begins: npt.NDArray[np.int64] | None = None
    """Where windows may begin; None is anywhere."""

    @classmethod
    def of_text(cls, tokens: Tokens) -> "Data":
        """All of ``tokens`` are learned."""
        return cls(tokens, np.ones(len(tokens), dtype=np.bool_))

    def save(self, path: Path) -> None:
        """Write to ``path``, an .npz file."""
        begins = {} if self.begins is None else {"begins": self.begins}
        with replacing(path, "OUT_DIR") as temporary, temporary.open("wb") as out:
            np.savez(out, tokens=self.tokens, scored=self.scored, **begins)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> "Data":
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return cls(arrays["tokens"], arrays["scored"], arrays.get("begins"))

    def rows(self, starts: Sequence[int] | npt.NDArray[np.int64], window: int) -> Batch:
        """The windows that begin at ``starts``."""
        at = np.asarray(starts)[:, None] + np.arange(window + 1)  # (rows, window + 1)
        tokens = torch.from_numpy(self.tokens[at].astype(np.int64))
        scored = torch.from_numpy(self.scored[at])
        return tokens[:, :-1], tokens[:, 1:].where(scored[:, 1:], IGNORED)

    def windows(self, window: int, first: int = 0) -> npt.NDArray[np.int64]:
        """Where consecutive windows begin, from token ``first`` on."""
        grid = np.arange(first, len(self.tokens) - window - 1, window)
        if self.begins is None:
            return grid
        nearest = np.searchsorted(self.begins, grid)
        starts = self.begins[nearest[nearest < len(self.begins)]]
        return np.unique(starts[starts + window < len(self.tokens)])


def batches(data: Data, recipe: Recipe, begin: int) -> Iterator[Batch]:
    """Batches from step ``begin`` on: each epoch's windows in a new order."""
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
    """Write a byte-level BPE tokenizer with GPT-2's word pattern, which llama.cpp knows.

    Args:
        special: further tokens that no text has, after END.
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
    """All ``texts``, END before each."""
    parts = [np.array([0, *tokenizer.encode(text).ids], dtype=np.uint16) for text in texts]
    return Data.of_text(np.concatenate(parts))


def read_pairs(
    path: Path, languages: tuple[str, str], shares: Sequence[tuple[str, float]], seed: int
) -> list[list[Pair]]:
    """The documents of a .jsonl or .jsonl.xz file, a pair a line: doc, src, and the target's code.

    Args:
        languages: codes of source and target.
        shares: pattern -> how many of the documents it matches are kept, at random.
    """
    documents: dict[str, list[Pair]] = {}
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        for line in file:
            entry = json.loads(line)
            pair = Pair(" ".join(entry["src"].split()), " ".join(entry[languages[1]].split()))
            documents.setdefault(entry["doc"], []).append(pair)
    rng = np.random.default_rng(seed)
    kept = []
    for name, pairs in documents.items():
        share = next((share for pattern, share in shares if fnmatch(name, pattern)), 1.0)
        if rng.random() < share:
            kept.append(pairs)
    return kept


def split_pairs(documents: list[list[Pair]]) -> tuple[list[list[Pair]], list[list[Pair]]]:
    """Pairs to train on, and those held out: the end of each document."""
    cuts = [len(pairs) - len(pairs) // HELDOUT_EVERY for pairs in documents]
    trained = [pairs[:cut] for pairs, cut in zip(documents, cuts, strict=True)]
    heldout = [pairs[cut:] for pairs, cut in zip(documents, cuts, strict=True)]
    return trained, [pairs for pairs in heldout if pairs]


def segments(documents: list[list[Pair]], seed: int) -> Iterator[Pair]:
    """Runs of sentences as a paragraph has them, some as lines, some with placeholders."""
    rng = np.random.default_rng(seed)
    lengths = np.arange(1, len(SEGMENT_SENTENCES) + 1)
    for pairs in documents:
        begin = 0
        while begin < len(pairs):
            end, size = begin, int(rng.choice(lengths, p=SEGMENT_SENTENCES))
            n_characters = 0
            while end < min(begin + size, len(pairs)):
                n_characters += len(pairs[end].source)
                if end > begin and n_characters > SEGMENT_CHARACTERS:
                    break
                end += 1
            chosen = pairs[begin:end]
            if rng.random() < MARKUP:
                at = int(rng.integers(len(chosen)))
                form = "<1>{}</1>" if rng.random() < 0.5 else "{}<1/>"
                chosen = [
                    Pair(form.format(pair.source), form.format(pair.translation))
                    if index == at
                    else pair
                    for index, pair in enumerate(chosen)
                ]
            space = "\n" if rng.random() < LINES else " "
            yield Pair(
                space.join(pair.source for pair in chosen),
                space.join(pair.translation for pair in chosen),
            )
            begin = end


def encode_pairs(tokenizer: Tokenizer, pairs: Iterable[Pair]) -> Data:
    """``pairs`` in the format of this file; translations and the END after them are learned."""
    tokens: list[npt.NDArray[np.uint16]] = []
    scored: list[npt.NDArray[np.bool_]] = []
    begins: list[int] = []
    position = 0
    for pair in pairs:
        source, translation = (
            tokenizer.encode(text, add_special_tokens=False).ids for text in pair
        )
        ids = [0, 1, *source, 2, *translation]
        learned = np.zeros(len(ids), dtype=np.bool_)
        learned[len(source) + 3 :] = True
        learned[0] = True  # END, of the pair before
        tokens.append(np.array(ids, dtype=np.uint16))
        scored.append(learned)
        begins.append(position)
        position += len(ids)
    return Data(np.concatenate(tokens), np.concatenate(scored), np.array(begins, dtype=np.int64))
