"""Translate documents that have reference translations, with and without Temp-LoRA.

Usage: python -m scripts.benchmarks.translation RESULTS.jsonl PAIRS.jsonl... [-m MODEL]
           [--documents PATTERN...] [--systems NAME...] [--limit N] [--edited N] [--preset NAME]
           [--learning-rate X] [--own-learning-rate X] [--decay X] [-t THREADS]

PAIRS.jsonl has one sentence per line: doc, src, and the code of the other language. Each document
is translated by some of these systems, the first four by default, segment by segment, in blocks:

  base             no Temp-LoRA; the prompt shows the last generated pairs
  own              Temp-LoRA learns the generated translations in each block that pass their checks
  base, shown      no Temp-LoRA; the prompt shows the last pairs of the reference
  references       the same prompt, and Temp-LoRA learns each block of the reference, as in the
                   paper's script
  edits shown      as base, but the first --edited translations are the reference's, as if a person
                   had corrected them
  edits            the same prompt, and Temp-LoRA learns them, not what follows

Every run adds a line of JSON to RESULTS.jsonl, with the translations, the NLL of the reference and
times; runs that are already there are skipped. `python -m scripts.benchmarks.report translation`
makes the tables.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from enum import Enum, auto
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from scripts.benchmarks.models import add_model
from scripts.benchmarks.runs import Results
from templora_edge.assets import BUNDLED_TRANSLATOR
from templora_edge.evaluation.translations import read_side
from templora_edge.models.base_gguf import BaseGguf
from templora_edge.options import GREEDY, Options, Preset, TextKind
from templora_edge.session import TempLora
from templora_edge.translation.answer_text import AnswerText
from templora_edge.translation.checks import check
from templora_edge.translation.pair_loop import PairLoop, pair_loop
from templora_edge.translation.prompt import Pair, own_prompt


class Given(Enum):
    """Which translations of a document are the reference's."""

    NONE = auto()
    ALL = auto()
    EDITED = auto()
    """The first ones, as many as --edited says."""


SYSTEMS: Final = {
    "base": (False, Given.NONE),
    "own": (True, Given.NONE),
    "base, shown": (False, Given.ALL),
    "references": (True, Given.ALL),
    "edits shown": (False, Given.EDITED),
    "edits": (True, Given.EDITED),
}
"""System -> whether Temp-LoRA learns, and which translations are given."""
DEFAULT_SYSTEMS: Final = tuple(SYSTEMS)[:4]
LANGUAGES: Final = ("fr", "en")


def translate(loop: PairLoop, pairs: list[Pair], n_given: int) -> Iterator[dict[str, Any]]:
    """Translate one document, yielding a result for each segment.

    Those of the first ``n_given`` are then replaced by the reference's.
    """
    loop.begin_block(())
    n_tokens = 0
    for index, pair in enumerate(pairs):
        full = n_tokens >= loop.options.block_len or index == n_given > 0
        if full or not loop.ask(pair.source, ()):
            loop.finish_block()
            n_tokens = 0
            loop.ask(pair.source, ())
        losses = loop.score(pair.translation)
        reader = AnswerText(pair.source)
        answer = loop.answer(GREEDY, loop.longest_answer(pair.source), reader)
        written = reader.translation(answer.text)
        flags = check(
            pair.source,
            written,
            source_language=LANGUAGES[0],
            target_language=LANGUAGES[1],
            finished=answer.finished,
        )
        given = index < n_given
        shown = pair if given else Pair(pair.source, written)
        if given or not flags:
            loop.accept(shown, own=not given)
        n_tokens += loop.n_tokens(shown.translation)
        yield {
            "translation": written,
            "flags": flags,
            "nll": sum(losses),
            "tokens": len(losses),
        }


def read(paths: list[Path], patterns: list[str], limit: int | None) -> dict[str, list[Pair]]:
    """Read the documents whose names match, by name, with at most ``limit`` pairs each."""
    documents: dict[str, list[Pair]] = {}
    for path in paths:
        side = read_side(path, LANGUAGES[1])
        for name, source, text in zip(side.documents, side.sources or [], side.texts, strict=True):
            if any(fnmatch(name, pattern) for pattern in patterns):
                documents.setdefault(name, []).append(Pair(" ".join(source.split()), text))
    return {name: pairs[:limit] for name, pairs in documents.items()}


def measure(base: BaseGguf, pairs: list[Pair], options: Options, n_given: int) -> dict[str, Any]:
    """Translate a document with one system."""
    begun, segments = time.perf_counter(), []
    with TempLora(base.path, options, text=TextKind.TRANSLATION) as session:
        loop = pair_loop(session, own_prompt(base, None, *LANGUAGES), *LANGUAGES)
        for segment in translate(loop, pairs, n_given):
            segments.append(segment)
            print(f"\r{len(segments)} of {len(pairs)} ", end="", file=sys.stderr)
        used = session.options.settings()
    return {
        "settings": used,
        "seconds": time.perf_counter() - begun,
        "segments": segments,
        "references": [pair.translation for pair in pairs],
    }


def main() -> None:
    """Parse the command line and do the runs that are missing."""
    summary = (__doc__ or "").splitlines()[0]
    name = "python -m scripts.benchmarks.translation"
    parser = argparse.ArgumentParser(name, description=summary)
    parser.add_argument("results", type=Path, metavar="RESULTS.jsonl")
    parser.add_argument("pairs", type=Path, nargs="+", metavar="PAIRS.jsonl")
    add_model(parser, BUNDLED_TRANSLATOR)
    parser.add_argument("--documents", nargs="+", default=["*"], metavar="PATTERN")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=DEFAULT_SYSTEMS)
    parser.add_argument("--limit", type=int, help="most segments of each document")
    parser.add_argument("--edited", type=int, metavar="N", help="segments that a person corrected")
    parser.add_argument("--preset", choices=list(Preset), default=Preset.DEFAULT)
    parser.add_argument("--learning-rate", type=float, help="rate of references")
    parser.add_argument("--own-learning-rate", type=float)
    parser.add_argument("--decay", type=float)
    parser.add_argument("-t", dest="threads", type=int, default=0, help="0: all physical cores")
    given = parser.parse_args()
    results = Results(given.results)
    documents = read(given.pairs, given.documents, given.limit)
    if not documents:
        parser.error(f"--documents {' '.join(given.documents)}: none of that name in PAIRS.jsonl")
    if not given.edited and any(SYSTEMS[name][1] is Given.EDITED for name in given.systems):
        parser.error("--systems edits: expected --edited N, the number of segments to learn")
    base = BaseGguf(given.model)
    rule = {
        name: getattr(given, name)
        for name in ("preset", "learning_rate", "own_learning_rate", "decay")
    }
    for document, pairs in documents.items():
        for system in given.systems:
            learns, which = SYSTEMS[system]
            run = {
                "document": document,
                "system": system,
                "model": given.model.name,
                "segments": len(pairs),
                "rule": rule if learns else None,
            }
            n_given = {Given.NONE: 0, Given.ALL: len(pairs), Given.EDITED: given.edited}[which]
            if which is Given.EDITED:
                run["edited"] = n_given
            if run in results:
                continue
            print(run, file=sys.stderr, flush=True)
            options = Options().changed(
                n_threads=given.threads, measure_after=False, templora=learns
            )
            if learns:
                options = options.changed(**rule)
            if which is Given.EDITED and learns:
                options = options.changed(own_learning_rate=0)
            results.add(run, measure(base, pairs, options, n_given))


if __name__ == "__main__":
    main()
