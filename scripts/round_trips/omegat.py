"""Hand a TMX of ours to OmegaT, and check that what it saves has every pair, codes left out.

Usage: python -m scripts.round_trips.omegat [OUT]

OUT is the output file of a translation, whose job is taken; otherwise a few pairs are. OmegaT comes
from Debian's packages, unpacked into .cache/omegat, without installing anything; Java must be
there. It opens a project with our sources as its source and our TMX as its memory, translates it
without a window and saves a memory of its own, which is compared. Exit status: 0 if all is in it, 1
if not, 75 if OmegaT cannot be downloaded.
"""

import argparse
import html
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from templora_edge.documents.markup import plain
from templora_edge.job_store.folder import folder_of
from templora_edge.translation.exchange import ExchangedJob, read_exchange, write_exchange
from templora_edge.translation.store.segment_row import Origin, SegmentRow
from templora_edge.translation.store.store import Store

FOLDER: Final = Path(__file__).resolve().parents[2] / ".cache" / "omegat"
FETCH: Final = """
set -euo pipefail
cd "$(mktemp -d)"
packages=$(apt-get install -s --no-install-recommends omegat | awk '/^Inst/ {print $2}')
apt-get download -qq $packages
for package in *.deb; do dpkg-deb -x "$package" root; done
mv root "$1"
rm -r "$PWD"
"""
PROJECT: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<omegat><project version="1.0">
  <source_dir>__DEFAULT__</source_dir><target_dir>__DEFAULT__</target_dir>
  <tm_dir>__DEFAULT__</tm_dir><glossary_dir>__DEFAULT__</glossary_dir>
  <glossary_file>__DEFAULT__</glossary_file><dictionary_dir>__DEFAULT__</dictionary_dir>
  <source_lang>FR</source_lang><target_lang>EN</target_lang>
  <sentence_seg>false</sentence_seg><support_default_translations>true</support_default_translations>
  <remove_tags>false</remove_tags>
</project></omegat>
"""
PAIRS: Final = (
    ("Le gardien <1>du phare</1> dort.", "The keeper <1>of the light</1> sleeps."),
    ("Il dit\u202f: «\xa0Non & non\xa0!\xa0»", 'He said: "No & <no>!"'),
    ("<1><2>Deux</2> trois</1><3/> quatre", "Four<3/>, <1>three, <2>two</2></1>"),
    ("Une ligne simple.", "A plain line."),
)


def main() -> int:
    """Run the check and return the exit status."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.round_trips.omegat", description=summary)
    parser.add_argument("out", nargs="?", type=Path, metavar="OUT", help="output of a translation")
    out = parser.parse_args().out
    if not FOLDER.is_dir():
        FOLDER.parent.mkdir(exist_ok=True)
        fetch = ["/bin/bash", "-c", FETCH, "fetch", str(FOLDER)]
        if subprocess.run(fetch, check=False).returncode:
            print("omegat: cannot be downloaded", file=sys.stderr)
            return 75
    rows = rows_of(out) if out else [
        SegmentRow(i, i, i, source, text, Origin.MODEL, (), 1, 1, 0.0)
        for i, (source, text) in enumerate(PAIRS, 1)
    ]  # fmt: skip
    rows = [row for row in rows if row.translation is not None]
    with tempfile.TemporaryDirectory() as folder:
        saved = saved_by_omegat(rows, Path(folder))
    lost = [(row.source, row.translation) for row in rows
            if saved.get(plain(row.source)) != plain(str(row.translation))]  # fmt: skip
    for source, translation in lost:
        print(f"lost: {source!r} = {translation!r}; saved: {saved.get(plain(source))!r}")
    print(f"{len(rows) - len(lost)} of {len(rows)} pairs are in what OmegaT saved")
    return bool(lost)


def rows_of(out: Path) -> list[SegmentRow]:
    """All segments of the job of ``out``."""
    with Store(folder_of(out), read_only=True) as store:
        return store.segments()


def saved_by_omegat(rows: list[SegmentRow], folder: Path) -> dict[str, str]:
    """Sources and translations, without codes, that OmegaT takes from our TMX and saves."""
    for name in ("source", "target", "tm/auto", "omegat", "glossary", "dictionary"):
        (folder / name).mkdir(parents=True)
    (folder / "omegat.project").write_text(PROJECT)
    page = "".join(f"<p>{html.escape(plain(row.source))}</p>\n" for row in rows)
    (folder / "source" / "a.html").write_text(f"<html><body>{page}</body></html>")
    write_exchange(folder / "tm/auto/job.tmx", ExchangedJob("fr", "en", "a.html", rows), ".tmx")
    jars = [FOLDER / "usr/share/omegat/OmegaT.jar", *(FOLDER / "usr/share/java").glob("*.jar")]
    java = shutil.which("java") or "java"
    subprocess.run(
        [java, "-cp", ":".join(map(str, jars)), "-Djava.awt.headless=true", "-Xmx512m",
         f"-Duser.home={folder}", "org.omegat.Main", str(folder), "--mode=console-translate",
         f"--config-dir={folder / 'config'}"],
        check=True, timeout=300, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    [memory] = folder.glob("*-omegat.tmx")
    return {
        plain(one.source): plain(one.translation or "")
        for one in read_exchange(memory, "OmegaT", "fr", "en")
    }


if __name__ == "__main__":
    sys.exit(main())
