"""Translate documents whose translation is known, with and without Temp-LoRA.

Usage: python scripts/translation_results.py RESULTS.jsonl OUT.md PAIRS.jsonl... [-m MODEL.gguf]
           [--documents PATTERN...] [--systems NAME...] [--limit N] [--preset NAME]
           [--learning-rate X] [--decay X] [-t THREADS]

PAIRS.jsonl has a sentence a line: doc, src, and the code of the other language. Each document is
translated by four systems, segment by segment, in blocks:

  base             no Temp-LoRA; the prompt shows the last pairs of its own
  own              Temp-LoRA learns each block of its own translations that pass their checks
  base, shown      no Temp-LoRA; the prompt shows the last pairs of the reference
  references       as that, and Temp-LoRA learns each block of the reference, as the paper's script

Every run adds a line of JSON to RESULTS.jsonl, with the translations, the NLL of the reference, and
times; runs that are there already are skipped. At the end OUT.md has the tables of all of them.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from runs import machine
from translation_report import write

from templora_edge.assets import BUNDLED_TRANSLATOR
from templora_edge.evaluation.translations import read_side
from templora_edge.models.gguf_file import GgufFile
from templora_edge.presets import Preset
from templora_edge.translation.checks import check
from templora_edge.translation.job import GREEDY
from templora_edge.translation.opening import open_session, own_prompt, pair_loop
from templora_edge.translation.pair_loop import PairLoop
from templora_edge.translation.prompt import Pair

SYSTEMS: Final = {
    "base": (False, False),
    "own": (True, False),
    "base, shown": (False, True),
    "references": (True, True),
}
"""System -> whether Temp-LoRA learns, whether references are what it is shown and learns."""
LANGUAGES: Final = ("fr", "en")


def translate(loop: PairLoop, pairs: list[Pair], *, references: bool) -> Iterator[dict[str, Any]]:
    """One document; a result a segment."""
    loop.begin_block(())
    n_tokens = 0
    for pair in pairs:
        loop.ask(pair.source, ())
        losses = loop.score(pair.translation)
        answer = loop.answer(GREEDY, loop.longest_answer(pair.source))
        flags = check(
            pair.source,
            answer.text,
            source_language=LANGUAGES[0],
            target_language=LANGUAGES[1],
            finished=answer.finished,
        )
        shown = pair if references else Pair(pair.source, answer.text)
        if references or not flags:
            loop.accept(shown)
        n_tokens += loop.n_tokens(shown.translation)
        if n_tokens >= loop.options.block_len:
            loop.finish_block()
            n_tokens = 0
        yield {
            "translation": answer.text,
            "flags": flags,
            "nll": sum(losses),
            "tokens": len(losses),
        }


def read(paths: list[Path], patterns: list[str], limit: int | None) -> dict[str, list[Pair]]:
    """Documents by name."""
    documents: dict[str, list[Pair]] = {}
    for path in paths:
        side = read_side(path, LANGUAGES[1])
        for name, source, text in zip(side.documents, side.sources or [], side.texts, strict=True):
            if any(fnmatch(name, pattern) for pattern in patterns):
                documents.setdefault(name, []).append(Pair(" ".join(source.split()), text))
    return {name: pairs[:limit] for name, pairs in documents.items()}


def main() -> None:
    """Do the runs that are missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("pairs", type=Path, nargs="+")
    parser.add_argument("-m", dest="model", type=Path, default=BUNDLED_TRANSLATOR)
    parser.add_argument("--documents", nargs="+", default=["*"])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--preset", choices=list(Preset), default=Preset.DEFAULT)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--decay", type=float)
    parser.add_argument("-t", dest="threads", type=int, default=0)
    given = parser.parse_args()
    lines = []
    if given.results.exists():
        lines = [json.loads(line) for line in given.results.read_text().splitlines()]
    documents = read(given.pairs, given.documents, given.limit)
    if not documents:
        parser.error(f"--documents {' '.join(given.documents)}: none of that name in PAIRS.jsonl")
    base = GgufFile(given.model)
    prompt = own_prompt(base, None, *LANGUAGES)
    rule = {"preset": given.preset, "learning_rate": given.learning_rate, "decay": given.decay}
    for name, pairs in documents.items():
        for system in given.systems:
            learns, references = SYSTEMS[system]
            run = {
                "document": name,
                "system": system,
                "model": given.model.name,
                "segments": len(pairs),
                "rule": rule if learns else None,
            }
            if any(line["run"] == run for line in lines):
                continue
            print(run, file=sys.stderr, flush=True)
            settings: dict[str, Any] = {
                "n_threads": given.threads,
                "measure_after": False,
                "given": references,
            }
            if learns:
                settings |= rule
            begun, segments = time.perf_counter(), []
            with open_session(base, settings, templora=learns) as session:
                loop = pair_loop(session, prompt, *LANGUAGES)
                for segment in translate(loop, pairs, references=references):
                    segments.append(segment)
                    print(f"\r{len(segments)} of {len(pairs)} ", end="", file=sys.stderr)
                used = session.settings()
            lines.append(
                {
                    "run": run,
                    "settings": used,
                    "machine": machine(),
                    "seconds": time.perf_counter() - begun,
                    "segments": segments,
                    "references": [pair.translation for pair in pairs],
                }
            )
            with given.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(lines[-1]) + "\n")
    write(lines, given.out)


if __name__ == "__main__":
    main()
