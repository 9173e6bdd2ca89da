"""Put documents of others through an engine that repeats, and say what changes in them.

Usage: python -m scripts.round_trips FILE_OR_FOLDER...

A line for each file or folder: documents, those refused, paragraphs, what is left untranslated on
purpose, documents that differ after each segment was its own translation, paragraphs lost when
each segment was written in capitals, and seconds. A line before it for each document that is
refused, differs or loses something, or ends the program. What is compared depends on the format.
"""

import argparse
import traceback
from collections.abc import Sequence
from pathlib import Path

from scripts.round_trips.trip import Trip, tried
from templora_edge.documents import FORMATS


def main() -> None:
    """Print the report; the exit status is 1 if a document was not handled."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.round_trips",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("places", nargs="+", type=Path, metavar="FILE_OR_FOLDER")
    broken = 0
    for place in parser.parse_args().places:
        trips = []
        files = _documents(place)
        for path in files:
            try:
                trips.append(tried(path))
            except Exception as error:
                broken += 1
                [*_, last] = traceback.extract_tb(error.__traceback__)
                print(f"  {path.name}: {error!r} in {Path(last.filename).name}:{last.lineno}")
                continue
            _tell(path, trips[-1])
        print(f"{place.name}: {_summary(len(files), trips)}", flush=True)
    if broken:
        raise SystemExit(1)


def _documents(place: Path) -> Sequence[Path]:
    if not place.is_dir():
        return [place]
    files = (path for path in place.rglob("*") if path.suffix.lower() in FORMATS)
    return sorted(path for path in files if path.is_file())


def _tell(path: Path, trip: Trip) -> None:
    if trip.refused:
        print(f"  refused: {trip.refused}")
    if trip.differ:
        print(f"  {path}: differs in {', '.join(trip.differ[:5])}")
    if trip.lost:
        print(f"  {path}: {len(trip.lost)} lost, such as {trip.lost[0][:80]!r}")


def _summary(n_documents: int, trips: Sequence[Trip]) -> str:
    return (
        f"{n_documents} documents, {sum(bool(trip.refused) for trip in trips)} refused, "
        f"{sum(trip.paragraphs for trip in trips)} paragraphs, "
        f"{sum(trip.skipped for trip in trips)} left untranslated, "
        f"{sum(bool(trip.differ) for trip in trips)} differ, "
        f"{sum(len(trip.lost) for trip in trips)} lost, "
        f"{sum(trip.seconds for trip in trips):.1f} s"
    )


if __name__ == "__main__":
    main()
