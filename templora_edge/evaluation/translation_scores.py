"""How good translations are, by measures that others use too, and by what a long text adds.

BLEU and chrF are sacrebleu's, with its signatures. d-BLEU (Liu et al. 2020, arXiv 2001.08210,
section 4) counts n-grams over whole documents: each document is one line.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest, Result

from templora_edge.translation.checks import has_loop

RESAMPLES: Final = 1000
"""Samples of the bootstrap (Koehn 2004), as sacrebleu's default."""
NAME_SEGMENTS: Final = 3
"""Segments of the reference that a name or term must occur in to be counted."""
TERM_LETTERS: Final = 6
"""Shorter words are seldom terms."""
TERM_SHARE: Final = 0.02
"""Share of all segments: a word in more of them is no term."""
COVERED: Final = 0.5
"""Characters of a translation, to those of its reference, below which something was left out."""

_NAME_OR_WORD: Final = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_SENTENCE_END: Final = frozenset(".!?…:\"“”«»‘'-–—")


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one hypothesis."""

    bleu: float
    d_bleu: float
    chrf: float
    signatures: dict[str, str]
    """Signatures of sacrebleu, by metric."""
    names: float | None
    """Share of a name's occurrences that have its most frequent rendering; None without names."""
    terms: float | None
    """The same of other words that are rare elsewhere."""
    coverage: float
    """Share of segments that are at least half as long as their reference."""
    repetition: float
    """Share of segments in which some words follow themselves again and again."""


def score(
    hypothesis: Sequence[str],
    reference: Sequence[str],
    documents: Sequence[str],
    target_language: str | None = None,
) -> Scores:
    """Compare translations with their references.

    Args:
        documents: the document of each segment; segments of one are neighbours.
        target_language: code; BLEU splits Chinese, Japanese and Korean its own way.
    """
    bleu, chrf = BLEU(trg_lang=code(target_language)), CHRF()
    figures = {
        "bleu": bleu.corpus_score(hypothesis, [reference]).score,
        "d_bleu": d_bleu(hypothesis, reference, documents, target_language),
        "chrf": chrf.corpus_score(hypothesis, [reference]).score,
    }
    signatures = {"bleu": bleu, "d_bleu": bleu, "chrf": chrf}
    names, terms = consistency(hypothesis, reference)
    covered = [
        len(ours) >= COVERED * len(theirs)
        for ours, theirs in zip(hypothesis, reference, strict=True)
    ]
    return Scores(
        **figures,
        signatures={name: str(metric.get_signature()) for name, metric in signatures.items()},
        names=names,
        terms=terms,
        coverage=sum(covered) / len(covered),
        repetition=sum(map(has_loop, hypothesis)) / len(hypothesis),
    )


def d_bleu(
    hypothesis: Sequence[str],
    reference: Sequence[str],
    documents: Sequence[str],
    target_language: str | None = None,
) -> float:
    """BLEU with a document a line; args as `score`."""
    lines = whole(hypothesis, documents), [whole(reference, documents)]
    return float(BLEU(trg_lang=code(target_language)).corpus_score(*lines).score)


def compare(
    hypotheses: Mapping[str, Sequence[str]],
    reference: Sequence[str],
    target_language: str | None,
    *,
    chrf: bool = True,
) -> dict[str, Any]:
    """Paired bootstrap of the second hypothesis against the first, over segments.

    Args:
        chrf: False leaves chrF out, which takes most of the time.

    Returns:
        metric -> the mean of each, half the width of its 95 % interval, and p, the chance of such
        a difference if there were none.
    """
    metrics: dict[str, Metric] = {"BLEU": BLEU(trg_lang=code(target_language))}
    if chrf:
        metrics["chrF2"] = CHRF()
    systems: list[tuple[str, Sequence[str]]] = list(hypotheses.items())
    test = PairedTest(systems, metrics, [list(reference)], test_type="bs", n_samples=RESAMPLES)
    _, found = test()
    return {
        name: {
            system: {
                "score": float(result.score),
                "mean": float(result.mean or 0),
                "confidence": float(result.ci or 0),
                "p": None if result.p_value is None else float(result.p_value),
            }
            for system, result in zip(hypotheses, found[name], strict=True)
            if isinstance(result, Result)
        }
        for name in metrics
    }


def consistency(
    hypothesis: Sequence[str], reference: Sequence[str]
) -> tuple[float | None, float | None]:
    """How faithfully names, and terms, keep to one rendering.

    The reference says where each occurs; its rendering is the word of the hypothesis that goes
    with it best (Dice's coefficient over segments), a capitalised one for a name. Of all
    occurrences, those count that have it.
    """
    words = [frozenset(_NAME_OR_WORD.findall(text)) for text in hypothesis]
    places = Counter(word for found in words for word in found)
    names, lower = Counter[str](), Counter[str]()
    where: dict[str, set[int]] = defaultdict(set)
    for index, text in enumerate(reference):
        capitalised = set(_names(text))
        small = {word for word in _NAME_OR_WORD.findall(text) if word.islower()}
        for word in capitalised | small:
            where[word].add(index)
        names.update(capitalised)
        lower.update(small)
    common = TERM_SHARE * len(reference)
    chosen = (
        [name for name, n in names.items() if n >= NAME_SEGMENTS and not lower[name.lower()]],
        [
            word
            for word, n in lower.items()
            if NAME_SEGMENTS <= n <= common and len(word) >= TERM_LETTERS
        ],
    )
    names_kept, terms_kept = (_share(some, where, words, places) for some in chosen)
    return names_kept, terms_kept


def whole(texts: Sequence[str], documents: Sequence[str]) -> list[str]:
    """A line a document."""
    pairs = zip(documents, texts, strict=True)
    return [" ".join(text for _, text in some) for _, some in groupby(pairs, lambda pair: pair[0])]


def code(language: str | None) -> str:
    """As sacrebleu wants it: without a country, "" if it is not known."""
    return (language or "").partition("-")[0]


def _names(text: str) -> Iterable[str]:
    """Capitalised words that do not begin a sentence."""
    for match in _NAME_OR_WORD.finditer(text):
        before = text[: match.start()].rstrip()
        if match.group()[0].isupper() and before and before[-1] not in _SENTENCE_END:
            yield match.group()


def _share(
    chosen: Sequence[str],
    where: dict[str, set[int]],
    words: Sequence[frozenset[str]],
    places: Mapping[str, int],
) -> float | None:
    kept = total = 0
    for word in chosen:
        there = where[word]
        candidates = Counter(
            candidate
            for index in there
            for candidate in words[index]
            if candidate[0].isupper() == word[0].isupper()
        )
        total += len(there)
        if candidates:
            # ties go to the first in the alphabet, so that a result can be had again
            shares = {c: n / (len(there) + places[c]) for c, n in sorted(candidates.items())}
            kept += candidates[max(shares, key=lambda candidate: shares[candidate])]
    return kept / total if total else None
