"""Scores of translations: standard ones, and ones that matter for long texts.

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

from templora_edge.errors import MissingExtraError
from templora_edge.translation.checks import has_loop

RESAMPLES: Final = 1000
"""Samples of the bootstrap (Koehn 2004); sacrebleu's default."""
NAME_SEGMENTS: Final = 3
"""Fewest segments of the reference in which a name or term must occur to count."""
TERM_LETTERS: Final = 6
"""Fewest letters of a term; shorter words are rarely terms."""
TERM_SHARE: Final = 0.02
"""Largest share of segments in which a term occurs; a more frequent word is no term."""
COVERED: Final = 0.5
"""Length of a translation over that of its reference below which something is missing."""

_CUT_BY_PACKAGES: Final = ("ja", "ko")
"""Languages that sacrebleu needs further packages for; it raises RuntimeError without them."""
_NAME_OR_WORD: Final = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_SENTENCE_END: Final = frozenset(".!?…:\"“”«»‘'-–—")


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one hypothesis."""

    bleu: float
    d_bleu: float
    chrf: float
    signatures: dict[str, str]
    """sacrebleu's signatures, by metric."""
    names: float | None
    """Share of the names' occurrences with the name's usual rendering; None without names."""
    terms: float | None
    """The same for terms: other words that are rare in the text."""
    coverage: float
    """Share of segments at least half as long as their reference."""
    repetition: float
    """Share of segments that contain a repetition loop."""


def score(
    hypothesis: Sequence[str],
    reference: Sequence[str],
    documents: Sequence[str],
    target_language: str | None = None,
) -> Scores:
    """Score translations against their references.

    Args:
        hypothesis: translations, one per segment.
        reference: reference translation of each segment.
        documents: document of each segment; segments of a document must be consecutive.
        target_language: language code; BLEU tokenizes Chinese, Japanese and Korean differently.
    """
    bleu, chrf = _bleu(target_language), CHRF()
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
    """BLEU with each document as one line; arguments as in `score`."""
    lines = whole(hypothesis, documents), [whole(reference, documents)]
    return float(_bleu(target_language).corpus_score(*lines).score)


def compare(
    hypotheses: Mapping[str, Sequence[str]],
    reference: Sequence[str],
    target_language: str | None,
    *,
    chrf: bool = True,
) -> dict[str, Any]:
    """Compare the second hypothesis with the first in a paired bootstrap over segments.

    Args:
        hypotheses: name -> translations, one per segment.
        reference: reference translation of each segment.
        target_language: language code, as in `score`.
        chrf: whether to include chrF, which takes most of the time.

    Returns:
        metric -> name -> score, bootstrap mean, half the width of its 95 % interval, and p, the
        probability of such a difference if there were none.
    """
    metrics: dict[str, Metric] = {"BLEU": _bleu(target_language)}
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
    """Consistency of names and of terms: the shares of occurrences with the usual rendering.

    The reference says in which segments each occurs. Its usual rendering is the word of the
    hypothesis that matches these segments best by Dice's coefficient, a capitalised one for a name.
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
    """The segments of each document joined to one line."""
    pairs = zip(documents, texts, strict=True)
    return [" ".join(text for _, text in some) for _, some in groupby(pairs, lambda pair: pair[0])]


def _bleu(target_language: str | None) -> BLEU:
    """BLEU with the tokenizer of the language.

    Raises:
        MissingExtraError: the packages that cut Japanese or Korean into words are not installed.
    """
    language = code(target_language)
    try:
        return BLEU(trg_lang=language)
    except RuntimeError as error:
        if language not in _CUT_BY_PACKAGES:
            raise
        raise MissingExtraError(
            f"-tl {target_language}: BLEU needs packages that cut this language into words, which "
            f"are not installed: pip install 'sacrebleu[{language}]'"
        ) from error


def code(language: str | None) -> str:
    """A language code in sacrebleu's form: without a region; "" for None."""
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
            # break ties alphabetically, so that results are reproducible
            shares = {c: n / (len(there) + places[c]) for c, n in sorted(candidates.items())}
            kept += candidates[max(shares, key=lambda candidate: shares[candidate])]
    return kept / total if total else None
