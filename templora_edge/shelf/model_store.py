"""The models of a worker, by their digests."""

import os
from functools import cache
from pathlib import Path

from templora_edge.assets import BUNDLED_MODEL, BUNDLED_TRANSLATOR
from templora_edge.host.files import sha256_of
from templora_edge.models.hub.cache import cache_folders


class ModelStore:
    """Models that are here: bundled ones, those of the hub's cache, and those that were sent."""

    def __init__(self) -> None:
        self._sent = cache_folders()[0] / "templora"
        """Folder of those that were sent: a folder for each, with its digest as name."""

    def find(self, digest: str) -> Path | None:
        """Path of the model with ``digest``; None: it is not here."""
        for path, known in _bundled().items():
            if known == digest:
                return path
        for folder in cache_folders():
            for blob in folder.glob(f"models--*/blobs/{digest}"):  # named by digest, once checked
                return blob
        return next((self._sent / digest).glob("*.gguf"), None)

    def digests(self) -> frozenset[str]:
        """Digests of all of them."""
        blobs = (blob for folder in cache_folders() for blob in folder.glob("models--*/blobs/*"))
        names = {blob.name for blob in blobs} | {one.name for one in self._sent.glob("*")}
        return frozenset({*_bundled().values(), *filter(self.find, names)})

    def add(self, digest: str, name: str, offset: int, part: bytes, size: int) -> None:
        """Add a part of a model that is sent; with its last byte it is checked, and there."""
        folder = self._sent / digest
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{Path(name).stem}.part"
        with path.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            file.write(part)
            file.flush()
            os.fsync(file.fileno())
        if offset + len(part) < size:
            return
        if sha256_of(path) == digest:
            path.rename(path.with_suffix(".gguf"))
        else:  # it is asked for again
            path.unlink()


@cache
def _bundled() -> dict[Path, str]:
    return {path: sha256_of(path) for path in (BUNDLED_MODEL, BUNDLED_TRANSLATOR)}
