"""Measure how much sooner a shelf is done with more workers.

Usage: python -m scripts.profiling.shelf simulate [--books N] [--seed N]
       python -m scripts.profiling.shelf measure WORK_DIR [--books N] [--paragraphs N]

`simulate` hands out books of random lengths to 1 to 64 workers, as `templora shelf` does, and
holds the time against its bound: all work divided by the workers, or the longest book. `measure`
translates equal short books with the bundled model, by one, two and three processes of one thread
each. The last line is JSON.
"""

import argparse
import heapq
import json
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from templora_edge.assets import BUNDLED_TRANSLATOR
from templora_edge.shelf.book import Book, Work
from templora_edge.shelf.local import Local, Share
from templora_edge.shelf.shelf import Shelf, State
from templora_edge.shelf.waiting import Waiting

WORKERS: Final = (1, 2, 4, 8, 16, 32, 64)
MEAN_WORDS: Final = 60_000
"""3 x 10^9 words in 50,000 books (Gerlach and Font-Clos 2018, arXiv 1812.08092)."""
SPREADS: Final = {"novels": 0.7, "all sorts": 1.2}
"""Standard deviation of the logarithm of a length. 0.7 is that of 185 English novels
(100_english_novels and ELTeC-eng); the other one is assumed, for stories beside encyclopaedias."""
WORDS_PER_SECOND: Final = 8
"""A model of 1B on four cores of a laptop, roughly; it scales all times alike."""
PARAGRAPH: Final = (
    "Le vieux marin regardait la mer sans rien dire. Sa fille lui apporta un verre de vin rouge. "
    "Ils attendaient le bateau depuis trois jours."
)


def lengths(n: int, spread: float, seed: int) -> list[float]:
    """Hours that each of ``n`` books takes."""
    mean = math.log(MEAN_WORDS) - spread**2 / 2  # so that the mean length is as it should be
    draw = random.Random(seed)  # noqa: S311 # no secret
    return [draw.lognormvariate(mean, spread) / WORDS_PER_SECOND / 3600 for _ in range(n)]


def hours(books: Sequence[float], n_workers: int, size: Callable[[int], float]) -> float:
    """Time until the last of ``books`` is done; ``size`` says what each is taken to be."""
    waiting: Waiting[int] = Waiting([[n] for n in range(len(books))], size)
    free = [0.0] * n_workers
    while chain := waiting.take():
        heapq.heapreplace(free, free[0] + books[chain[0]])
    return max(free)


def simulate(n_books: int, seed: int) -> list[dict[str, Any]]:
    """Hours by spread, order and number of workers."""
    rows = []
    for name, spread in SPREADS.items():
        books = lengths(n_books, spread, seed)
        # a size that falls with the number keeps the order in which the books were given
        orders = {"longest first": books.__getitem__, "as given": lambda n: float(-n)}
        for n_workers in WORKERS:
            bound = max(sum(books) / n_workers, *books)
            row = {"books": name, "workers": n_workers, "bound_hours": bound}
            rows.append(
                row | {order: hours(books, n_workers, size) for order, size in orders.items()}
            )
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| books | workers | bound, h | longest first, h | over | as given, h | over |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        bound = row["bound_hours"]
        cells = [row["books"], str(row["workers"]), f"{bound:,.1f}"]
        for order in ("longest first", "as given"):
            cells += [f"{row[order]:,.1f}", f"{100 * (row[order] / bound - 1):.1f} %"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def measure(folder: Path, n_books: int, n_paragraphs: int) -> list[dict[str, Any]]:
    """Seconds for ``n_books`` equal books by one, two and three processes."""
    rows = []
    for n_workers in (1, 2, 3):
        place = folder / str(n_workers)
        place.mkdir(parents=True)
        books = []
        for number in range(n_books):
            source = place / f"{number}.txt"
            source.write_text("\n\n".join([PARAGRAPH] * n_paragraphs) + "\n", encoding="utf-8")
            out = place / f"{number}.en.txt"
            flags = ("-sl", "fr", "-tl", "en")
            books.append(Book(Work.TRANSLATE, source, out, BUNDLED_TRANSLATOR, flags, None, 1))
        begun = time.perf_counter()
        with Local(Share(n_workers, 1)) as crew:
            shelf = Shelf(books, crew)
            for _ in shelf:
                pass
        if any(row.state is not State.DONE for row in shelf.rows.values()):
            raise SystemExit("a book failed")
        rows.append({"workers": n_workers, "seconds": round(time.perf_counter() - begun, 1)})
    return rows


def main() -> None:
    """Parse the command line, simulate or measure, print."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.profiling.shelf", description=summary)
    what = parser.add_subparsers(dest="what", required=True)
    simulated = what.add_parser("simulate")
    simulated.add_argument("--books", type=int, default=500)
    simulated.add_argument("--seed", type=int, default=0)
    measured = what.add_parser("measure")
    measured.add_argument("work_dir", type=Path, metavar="WORK_DIR")
    measured.add_argument("--books", type=int, default=6)
    measured.add_argument("--paragraphs", type=int, default=20)
    given = parser.parse_args()
    if given.what == "simulate":
        rows = simulate(given.books, given.seed)
        sys.stdout.write(f"{table(rows)}\n")
    else:
        rows = measure(given.work_dir, given.books, given.paragraphs)
    sys.stdout.write(f"{json.dumps(rows)}\n")


if __name__ == "__main__":
    main()
