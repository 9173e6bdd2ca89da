"""The models in the caches, from their headers."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from templora_edge.errors import ModelFileError
from templora_edge.models.families import why_not_trained
from templora_edge.models.gguf_file import GgufFile
from templora_edge.models.hub.cache import (
    cache_folders,
    cached_ggufs,
    cached_repos,
    repo_folder,
    snapshots,
)
from templora_edge.models.hub.name import HubName, models_among, quant_of


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A model in a cache."""

    name: str
    """What -hf takes: ``user/repo:quant``, or ``user/repo`` where `file` is needed."""
    file: str | None
    """Path in the repository, for -hff; None where the name alone says which file is meant."""
    path: str
    """Where the model is; of a split one the first part."""
    file_bytes: int
    """Size of the file, or of all parts."""
    architecture: str
    """llama.cpp's name of the architecture; empty if the file is damaged, or no model."""
    templora: bool
    """Whether Temp-LoRA can train the model."""
    templora_reason: str
    """Why not; empty if it can."""


def cached_models() -> Iterator[CachedModel]:
    """All models in all caches, by repository and path; of older snapshots what newer ones lack."""
    for cache in cache_folders():
        for repo in cached_repos(cache):
            found: dict[str, Path] = {}
            for snapshot in snapshots(repo_folder(cache, repo)):
                found = {path: snapshot / path for path in cached_ggufs(snapshot)} | found
            models = models_among(sorted(found))
            for path in models:
                name = HubName(repo, quant_of(path) or None)
                if name.choose(models) != path:
                    name = HubName(repo, file=path)
                yield _described(name, found[path])


def _described(name: HubName, path: Path) -> CachedModel:
    try:
        base = GgufFile(path)
    except ModelFileError as error:
        reason = str(error).removeprefix(f"{path}: ")
        return CachedModel(str(name), name.file, str(path), path.stat().st_size, "", False, reason)
    reason = why_not_trained(base)
    return CachedModel(
        name=str(name),
        file=name.file,
        path=str(path),
        file_bytes=base.file_bytes,
        architecture=base.architecture,
        templora=not reason,
        templora_reason=reason,
    )
