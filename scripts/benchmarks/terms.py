"""Compare the first terms that `templora terms` lists with the names that a translation keeps.

Usage: python -m scripts.benchmarks.terms PAIRS.jsonl... [--documents PATTERN...] [-n N]

PAIRS.jsonl has one sentence per line: doc, src, and the code of the other language. A name that a
published translation keeps is a word of two letters or more, no title, that is capitalised within
sentences of the source and of the translation, at least twice in each, and oftener than it is in
small letters. Words end at hyphens. A line of the list is right if all its capitalised words but
titles are such names; a name is found if a right line has it. Recall is that of all names, of the N
most frequent ones, and of all their occurrences. What a translation renders otherwise (Londres,
London) counts as wrong. The last line of the output is one JSON document, with what was wrong.
"""

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from scripts.benchmarks.translation import LANGUAGES, read
from templora_edge.translation.prompt import Pair
from templora_edge.translation.terms.terms import Term, TermKind, terms_of
from templora_edge.translation.terms.words import TITLES

LEAST: Final = 2
"""Fewest occurrences within sentences, on each side."""
_LETTERS_ONLY: Final = re.compile(r"[^\W\d_]+")
_WITHIN_SENTENCE: Final = re.compile(
    rf"(?:[\w,;][ \u00a0]+|[\w]['’-]|\b(?:{'|'.join(TITLES)})\.?[ \u00a0])$", re.IGNORECASE
)
"""The characters before a word that begins no sentence, quotation or line."""
_BEFORE: Final = 16
"""Characters before a word that decide about it."""


def kept_names(pairs: Sequence[Pair]) -> Counter[str]:
    """The names that the translations keep, with all their occurrences in the sources."""
    here = _within(pair.source for pair in pairs)
    there = _within(pair.translation for pair in pairs)
    words = Counter(word for pair in pairs for word in _LETTERS_ONLY.findall(pair.source))
    return Counter(
        {
            word: words[word]
            for word, count in here.items()
            if min(count, there[word]) >= LEAST and words[word] > words[word.lower()]
        }
    )


def compare(terms: Sequence[Term], names: Counter[str], n: int) -> dict[str, Any]:
    """Precision and recall of ``terms`` against ``names``, ready for JSON."""
    right = [term for term in terms if _names_in(term.text) and _names_in(term.text) <= set(names)]
    found: set[str] = set().union(*(_names_in(term.text) for term in right))
    frequent = [name for name, _ in names.most_common(n)]
    return {
        "lines": len(terms),
        "precision": len(right) / max(1, len(terms)),
        "recall_all": len(found) / len(names),
        "recall_frequent": sum(name in found for name in frequent) / len(frequent),
        "recall_occurrences": sum(names[name] for name in found) / sum(names.values()),
        "names": len(names),
        "wrong": [term.text for term in terms if term not in right],
        "missed": [name for name in frequent if name not in found],
    }


def _within(texts: Iterable[str]) -> Counter[str]:
    """Words that are capitalised within sentences, no titles, and how often they are."""
    return Counter(
        match.group()
        for text in texts
        for match in _LETTERS_ONLY.finditer(text)
        if _is_name_word(match.group())
        and _WITHIN_SENTENCE.search(text[max(0, match.start() - _BEFORE) : match.start()])
    )


def _names_in(text: str) -> set[str]:
    return set(filter(_is_name_word, _LETTERS_ONLY.findall(text)))


def _is_name_word(word: str) -> bool:
    return word[0].isupper() and len(word) > 1 and word.lower() not in TITLES


def main() -> None:
    """Parse the command line, compare each document, and print the figures."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.benchmarks.terms", description=summary)
    parser.add_argument("pairs", type=Path, nargs="+", metavar="PAIRS.jsonl")
    parser.add_argument("--documents", nargs="+", default=["*"], metavar="PATTERN")
    parser.add_argument("-n", type=int, default=50, help="lines of the list")
    given = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    for document, pairs in read(given.pairs, given.documents, None).items():
        begun = time.perf_counter()
        terms = terms_of([pair.source for pair in pairs], LANGUAGES[0])
        seconds = time.perf_counter() - begun
        names = kept_names(pairs)
        only_names = [term for term in terms if term.kind is TermKind.NAME]
        results[document] = {
            "seconds": seconds,
            "lines of the list": compare(terms[: given.n], names, given.n),
            "names of the list": compare(only_names[: given.n], names, given.n),
        }
        for which in ("lines of the list", "names of the list"):
            one = results[document][which]
            print(
                f"{document}, the first {given.n} {which}: precision {one['precision']:.2f}, "
                f"recall {one['recall_frequent']:.2f}"
            )
    print(json.dumps(results, ensure_ascii=False))


if __name__ == "__main__":
    main()
