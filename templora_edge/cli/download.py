"""Progress of a download."""

import logging
import time
from typing import Self

from templora_edge.cli.output import size
from templora_edge.cli.progress import LINE_SECONDS, duration
from templora_edge.cli.screen import SCREEN
from templora_edge.models.hub.progress import DownloadProgress


class DownloadLine(DownloadProgress):
    """Shows the rate and the time left of downloads, one after another."""

    def __enter__(self) -> Self:
        # what the hub tells users of its Python library, such as that they are not logged in
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        return self

    def __exit__(self, *_: object) -> None:
        SCREEN.clear()

    def begin(self, file: str, done: int, total: int) -> None:
        """Begin to show ``file``."""
        self._file, self._total = file, total
        self._found = self._done = done
        self._begun = self._printed = time.perf_counter()
        resumed = f", of which {size(done)} are there" if done else ""
        SCREEN.show(f"downloading {file}: {size(total)}{resumed}", force=True)

    def update(self, done: int) -> None:
        """Show what is there if a line is due."""
        self._done = done
        now = time.perf_counter()
        if not SCREEN.live and now - self._printed < LINE_SECONDS:
            return
        self._printed = now
        rate = (done - self._found) / (now - self._begun)
        eta = duration((self._total - done) / rate if rate > 0 else None)
        share = f"{100 * done / self._total:.0f} %"
        SCREEN.show(
            f"{self._file}: {size(done)} of {size(self._total)} ({share}), {size(max(0, rate))}/s, "
            f"ETA {eta}"
        )

    def finish(self) -> None:
        """Say how long it took."""
        seconds = time.perf_counter() - self._begun
        SCREEN.say(f"downloaded {self._file}: {size(self._total)} in {duration(seconds)}")
