"""The caches of models: folders of the hub's layout, which llama.cpp shares.

A cache holds `models--user--repo` for each repository, with the files by their digests in `blobs`,
links to them by commit and path in `snapshots`, and the newest commit in `refs/main`.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from templora_edge.models.hub.name import HubName, parts_of

_REPO: Final = "models--"


def cache_folders() -> tuple[Path, ...]:
    """Caches in the order in which models are looked for; downloads go to the first.

    LLAMA_CACHE, if it is set, comes before the hub's own cache.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    named = os.environ.get("LLAMA_CACHE")
    folders = (Path(named).absolute(),) if named else ()
    return tuple(dict.fromkeys((*folders, Path(HF_HUB_CACHE).absolute())))


def repo_folder(cache: Path, repo: str) -> Path:
    """Folder of ``repo`` in ``cache``."""
    return cache / (_REPO + repo.replace("/", "--"))


def cached_repos(cache: Path) -> list[str]:
    """Names of the repositories in ``cache``."""
    names = sorted(folder.name for folder in cache.glob(f"{_REPO}*--*"))
    return [name.removeprefix(_REPO).replace("--", "/", 1) for name in names]


def snapshots(folder: Path) -> list[Path]:
    """Snapshots in the folder of a repository: that of the branch main first, then newest first."""
    ref = folder / "refs" / "main"
    main = ref.read_text(encoding="utf-8").strip() if ref.is_file() else ""
    found = [path for path in folder.glob("snapshots/*") if path.is_dir()]
    return sorted(found, key=lambda path: (path.name == main, path.stat().st_mtime), reverse=True)


def cached_ggufs(snapshot: Path) -> list[str]:
    """Paths of the GGUFs in a snapshot, relative to it; not of links that lead nowhere."""
    files = sorted(path for path in snapshot.rglob("*.gguf") if path.is_file())
    return [path.relative_to(snapshot).as_posix() for path in files]


def find_cached(name: HubName) -> Path | None:
    """Path of the model ``name`` in the first cache that holds all of it; None if none does."""
    for snapshot in _snapshots_everywhere(name.repo):
        paths = cached_ggufs(snapshot)
        chosen = name.choose(paths)
        if chosen is not None and set(parts_of(chosen)) <= set(paths):
            return snapshot / chosen
    return None


def _snapshots_everywhere(repo: str) -> Iterator[Path]:
    for cache in cache_folders():
        yield from snapshots(repo_folder(cache, repo))
