"""What a model is trained on, as text: whole texts, or segments with their translations.

Sentences that follow each other in a document form one segment now and then, as in a paragraph, and
some carry the placeholders that stand for markup.
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
"""One text in so many is held out, and that share of each document of pairs, its end."""
SEGMENT_SENTENCES: Final = (0.45, 0.2, 0.15, 0.1, 0.05, 0.05)
"""Share of segments with one sentence, two, three, …"""
SEGMENT_CHARACTERS: Final = 600
"""Longest source of several sentences."""
LINES: Final = 0.25
"""Share of segments whose sentences are separate lines."""
MARKUP: Final = 0.05
"""Share of segments in which one sentence has placeholders."""


class SentencePair(NamedTuple):
    """One or more sentences and their translation; the source of a text by itself is empty."""

    source: str
    translation: str


@dataclass(frozen=True)
class Corpus:
    """What there is to learn from, and what is held out."""

    trained: list[SentencePair]
    heldout: list[SentencePair]
    languages: tuple[str, str] | None
    """Codes of the languages of the pairs; None for texts."""
    description: str


def read_texts(folder: Path) -> Corpus:
    """The .txt files of a folder.

    Raises:
        SystemExit: there are too few to hold one out.
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
    """Segments of the documents of a .jsonl or .jsonl.xz file (see `read_pairs`)."""
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
    """The documents of a .jsonl or .jsonl.xz file, a pair a line: doc, src, and the target's code.

    Args:
        languages: codes of source and target.
        shares: patterns of names of documents, and the share of these that is kept, at random.
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
    """Pairs to train on, and the end of each document, which is held out."""
    cuts = [len(pairs) - len(pairs) // HELDOUT_EVERY for pairs in documents]
    trained = [pairs[:cut] for pairs, cut in zip(documents, cuts, strict=True)]
    heldout = [pairs[cut:] for pairs, cut in zip(documents, cuts, strict=True)]
    return trained, [pairs for pairs in heldout if pairs]


def segments(documents: list[list[SentencePair]], seed: int) -> Iterator[SentencePair]:
    """Segments of one sentence or several, some as lines, some with placeholders."""
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
