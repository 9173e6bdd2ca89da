"""Measure time and memory of translating a whole novel.

Usage: python -m scripts.profiling.novel TEXT.txt WORK_DIR -sl CODE -tl CODE [-m MODEL.gguf]
           [--prompt-template FILE] [-t THREADS]

Makes WORK_DIR/novel.epub from the text and translates it to WORK_DIR/translated.epub, noting the
resident memory of both processes at every twentieth of the way. Running an interrupted command
again continues where it stopped. The last line is JSON.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import psutil

from scripts.profiling.epub import book, write_book
from templora_edge.options import Options
from templora_edge.translation.answers import Languages
from templora_edge.translation.job.job import Translator
from templora_edge.translation.job.translate_job import TranslateJob

NOTES: Final = 20


def memory() -> dict[str, float]:
    """Resident MiB of this process and of the training process."""
    own = psutil.Process()
    return {
        "engine_mib": round(own.memory_info().rss / 2**20, 1),
        "training_mib": round(sum(p.memory_info().rss for p in own.children()) / 2**20, 1),
    }


def main() -> None:
    """Parse the command line, make the book, translate it, print."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.profiling.novel", description=summary)
    parser.add_argument("text", type=Path, metavar="TEXT.txt")
    parser.add_argument("work_dir", type=Path, metavar="WORK_DIR")
    parser.add_argument("-sl", required=True, metavar="CODE", help="language of the text")
    parser.add_argument("-tl", required=True, metavar="CODE", help="language of the translation")
    parser.add_argument("-m", dest="model", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--prompt-template", type=Path)
    parser.add_argument("-t", dest="threads", type=int, default=0, help="0: all physical cores")
    given = parser.parse_args()
    given.work_dir.mkdir(parents=True, exist_ok=True)
    novel = given.work_dir / "novel.epub"
    write_book(novel, book(given.text.read_text(encoding="utf-8"), given.sl))
    job = TranslateJob(
        novel,
        given.work_dir / "translated.epub",
        Languages(given.sl, given.tl),
        given.model,
        Options().changed(n_threads=given.threads, measure_after=False),
        prompt_template=given.prompt_template,
    )
    begun, noted = time.perf_counter(), -1
    notes: list[dict[str, Any]] = []
    with Translator(job) as translator:
        for step in translator:
            part = NOTES * step.done // step.total
            if part > noted:
                noted = part
                notes.append({"share": part / NOTES, "seconds": time.perf_counter() - begun})
                notes[-1] |= memory()
                print(json.dumps(notes[-1]), file=sys.stderr, flush=True)
        report = translator.report
    keys = ("segments", "flagged", "flags", "learned_blocks", "tokens", "seconds")
    result = {key: report[key] for key in keys}
    print(json.dumps(result | {"bytes": given.text.stat().st_size, "memory": notes}))


if __name__ == "__main__":
    main()
