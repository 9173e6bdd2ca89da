"""Measure the checks of translations: what they flag of good pairs, and what of damaged ones.

Usage: python -m scripts.benchmarks.checks PAIRS... [--documents PATTERN...] [--every N]
           [--damaged N] [--examples N] [-sl CODE] [-tl CODE]

PAIRS are .jsonl (doc, src, and the code of the other language) or .tsv (source, tab, translation).
Of N pairs, spread over all that pass, each is damaged in one of the ways of `DAMAGES`. Two tables
go to the standard error; the last line is the result in JSON.
"""

import argparse
import csv
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from templora_edge.translation.checks import check
from templora_edge.translation.prompt import Pair

URL: Final = "https://www.example.org/a/{n}"
LEAST_WORDS: Final = 8
"""Words of a pair that is damaged; half of a shorter one may be a translation."""
Damage = Callable[[Pair, random.Random], Pair]
"""A good pair -> a pair with a bad translation."""


def half(pair: Pair, chance: random.Random) -> Pair:
    """Leave the first or the second half of the sentences out, or of the words."""
    parts = re.split(r"(?<=[.!?]) ", pair.translation)
    words = parts if len(parts) > 1 else pair.translation.split()
    middle = len(words) // 2
    kept = words[:middle] if chance.random() < 0.5 else words[middle:]
    return Pair(pair.source, " ".join(kept))


def loop(pair: Pair, chance: random.Random) -> Pair:
    """Repeat some words from a place within the translation on."""
    words = pair.translation.split()
    begin, n = len(words) // 2, chance.randint(1, 4)
    return Pair(pair.source, " ".join(words[:begin] + words[begin - n : begin] * 8))


def wrong_number(pair: Pair, chance: random.Random) -> Pair:
    """Name a number on both sides, another one on each."""
    n = chance.randint(2, 1999)
    return Pair(f"{n} : {pair.source}", f"{n + chance.randint(1, 30)}: {pair.translation}")


def lost_url(pair: Pair, chance: random.Random) -> Pair:
    """Name an address in the source alone."""
    return Pair(f"{pair.source} {URL.format(n=chance.randint(1, 99))}", pair.translation)


def lost_tag(pair: Pair, chance: random.Random) -> Pair:
    """Mark a word of the source up, and none or half a word of the translation."""
    first, _, rest = pair.source.partition(" ")
    half_tag = "<1>" if chance.random() < 0.5 else ""
    return Pair(f"<1>{first}</1> {rest}", half_tag + pair.translation)


DAMAGES: Final[dict[str, Damage]] = {
    "empty": lambda pair, _: Pair(pair.source, ""),
    "other language": lambda pair, _: Pair(pair.source, pair.source),
    "half missing": half,
    "loop": loop,
    "wrong number": wrong_number,
    "lost URL": lost_url,
    "lost tag": lost_tag,
}
"""Kinds of damage; one answer for many sources comes besides, as it takes several pairs."""


def read(paths: Sequence[Path], patterns: Sequence[str], target: str) -> Iterator[tuple[str, Pair]]:
    """The pairs of files, each with its document: those that match where a file names them."""
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix == ".jsonl":
                for line in file:
                    entry = json.loads(line)
                    if any(fnmatch(entry["doc"], pattern) for pattern in patterns):
                        texts = (" ".join(entry[key].split()) for key in ("src", target))
                        yield entry["doc"], Pair(*texts)
            else:
                rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
                yield from ((path.name, Pair(*row[:2])) for row in rows if len(row) > 1)


def flags_of(pair: Pair, languages: tuple[str, str], others: Sequence[str] = ()) -> list[str]:
    """The checks that ``pair`` fails."""
    return list(
        check(
            pair.source,
            pair.translation,
            source_language=languages[0],
            target_language=languages[1],
            finished=True,
            other_sources=others,
        )
    )


def measure(
    pairs: Sequence[tuple[str, Pair]],
    languages: tuple[str, str],
    n_damaged: int,
    show: Callable[[str, Pair, list[str]], None],
) -> dict[str, Any]:
    """Rates of what is flagged of pairs of documents, by check, and of damaged ones, by kind."""
    chance = random.Random(0)  # noqa: S311
    known: dict[tuple[str, str], set[str]] = {}
    flags, good = Counter[str](), list[Pair]()
    n_flagged = 0
    for document, pair in pairs:
        there = known.setdefault((document, pair.translation), set())
        found = flags_of(pair, languages, tuple(there))
        there.add(pair.source)
        flags.update(found)
        n_flagged += bool(found)
        if found:
            show("good", pair, found)
        elif len(re.findall(r"\w+", pair.translation)) >= LEAST_WORDS:
            good.append(pair)
    caught, tried = Counter[str](), Counter[str]()
    chosen = chance.sample(good, min(n_damaged, len(good)))
    kinds = [*DAMAGES, "one answer for many"]
    for index, pair in enumerate(chosen):
        kind = kinds[index % len(kinds)]
        others: Sequence[str] = ()
        if kind in DAMAGES:
            damaged = DAMAGES[kind](pair, chance)
        else:  # the answer for another segment of about the same length
            other = min(
                (one for one in good if one is not pair),
                key=lambda one: abs(len(one.translation) - len(pair.translation)),
            )
            damaged, others = Pair(pair.source, other.translation), (other.source,)
        found = flags_of(damaged, languages, others)
        tried[kind] += 1
        caught[kind] += bool(found)
        if not found:
            show(f"not flagged, {kind}", damaged, [])
    return {
        "pairs": len(pairs),
        "flagged": n_flagged,
        "flagged_rate": n_flagged / max(1, len(pairs)),
        "flags": dict(flags.most_common()),
        "damaged": sum(tried.values()),
        "caught_rate": sum(caught.values()) / max(1, sum(tried.values())),
        "caught": {kind: [caught[kind], tried[kind]] for kind in tried},
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "python -m scripts.benchmarks.checks", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("pairs", type=Path, nargs="+")
    parser.add_argument("--documents", nargs="+", default=["*"], metavar="PATTERN")
    parser.add_argument("--every", type=int, default=1, metavar="N")
    parser.add_argument("--damaged", type=int, default=300, metavar="N")
    parser.add_argument("--examples", type=int, default=0, metavar="N")
    parser.add_argument("-sl", default="fr")
    parser.add_argument("-tl", default="en")
    args = parser.parse_args()
    pairs = list(read(args.pairs, args.documents, args.tl))[:: args.every]
    shown = Counter[str]()

    def show(kind: str, pair: Pair, flags: list[str]) -> None:
        shown[kind + "".join(flags)] += 1
        if shown[kind + "".join(flags)] <= args.examples:
            print(kind, *flags, repr(pair.source), repr(pair.translation), file=sys.stderr)

    print(json.dumps(measure(pairs, (args.sl, args.tl), args.damaged, show)))


if __name__ == "__main__":
    main()
