"""The text that a model is trained on: whole texts, or segments with their translations.

Some segments consist of several consecutive sentences, as in a paragraph, and some contain
placeholders for markup.
"""

import json
import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

HELDOUT_EVERY: Final = 40
"""One in this many texts is held out, or the last such share of each document of pairs."""
SEGMENT_SENTENCES: Final = (0.45, 0.2, 0.15, 0.1, 0.05, 0.05)
"""Shares of segments with one sentence, two, three, …"""
SEGMENT_CHARACTERS: Final = 600
"""Most characters in the source of a segment with several sentences."""
LINES: Final = 0.25
"""Share of segments whose sentences are separate lines."""
MARKUP: Final = 0.05
"""Share of segments in which one sentence has placeholders."""


class SentencePair(NamedTuple):
    """One or more sentences and their translation; for plain texts the source is empty."""

    source: str
    translation: str


@dataclass(frozen=True)
class Corpus:
    """Training data and held-out data."""

    trained: list[SentencePair]
    heldout: list[SentencePair]
    languages: tuple[str, str] | None
    """Language codes of source and target; None for plain texts."""
    description: str


def read_texts(folder: Path) -> Corpus:
    """Read the .txt files in a folder.

    Raises:
        SystemExit: there are too few files to hold one out.
    """
    files = sorted(folder.glob("*.txt"))
    heldout_files = files[HELDOUT_EVERY - 1 :: HELDOUT_EVERY]
    trained_files = [file for file in files if file not in heldout_files]
    if not trained_files or not heldout_files:
        raise SystemExit(f"{folder}: {len(files)} .txt files; expected {HELDOUT_EVERY} or more")
    return Corpus(
        [SentencePair("", file.read_text(encoding="utf-8")) for file in trained_files],
        [SentencePair("", file.read_text(encoding="utf-8")) for file in heldout_files],
        None,
        f"{len(files)} texts, of which every fortieth ({len(heldout_files)}) was held out",
    )


def read_parallel(
    path: Path, languages: tuple[str, str], shares: Sequence[tuple[str, float]], seed: int
) -> Corpus:
    """Read the segments in a .jsonl or .jsonl.xz file; arguments as in `read_pairs`."""
    documents = read_pairs(path, languages, shares, seed)
    trained, heldout = split_pairs(documents)
    return Corpus(
        list(segments(trained, seed)),
        list(segments(heldout, seed)),
        languages,
        f"{len(documents)} documents, {sum(map(len, documents))} pairs of sentences; the last "
        "fortieth of each was held out",
    )


def read_pairs(
    path: Path, languages: tuple[str, str], shares: Sequence[tuple[str, float]], seed: int
) -> list[list[SentencePair]]:
    """Read the documents in a .jsonl or .jsonl.xz file.

    Each line is a pair, with the keys doc, src and the target's language code.

    Args:
        path: file to read.
        languages: language codes of source and target.
        shares: (pattern, share) each: which share of the documents with matching names to keep, at
            random.
        seed: random seed.
    """
    documents: dict[str, list[SentencePair]] = {}
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        for line in file:
            entry = json.loads(line)
            pair = SentencePair(
                " ".join(entry["src"].split()), " ".join(entry[languages[1]].split())
            )
            documents.setdefault(entry["doc"], []).append(pair)
    rng = np.random.default_rng(seed)
    kept = []
    for name, pairs in documents.items():
        share = next((share for pattern, share in shares if fnmatch(name, pattern)), 1.0)
        if rng.random() < share:
            kept.append(pairs)
    return kept


def split_pairs(
    documents: list[list[SentencePair]],
) -> tuple[list[list[SentencePair]], list[list[SentencePair]]]:
    """Split documents into pairs to train on and their ends, which are held out."""
    cuts = [len(pairs) - len(pairs) // HELDOUT_EVERY for pairs in documents]
    trained = [pairs[:cut] for pairs, cut in zip(documents, cuts, strict=True)]
    heldout = [pairs[cut:] for pairs, cut in zip(documents, cuts, strict=True)]
    return trained, [pairs for pairs in heldout if pairs]


def segments(documents: list[list[SentencePair]], seed: int) -> Iterator[SentencePair]:
    """Join pairs into segments of one or more sentences, some on lines, some with placeholders."""
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
                    SentencePair(form.format(pair.source), form.format(pair.translation))
                    if index == at
                    else pair
                    for index, pair in enumerate(chosen)
                ]
            space = "\n" if rng.random() < LINES else " "
            yield SentencePair(
                space.join(pair.source for pair in chosen),
                space.join(pair.translation for pair in chosen),
            )
            begin = end
