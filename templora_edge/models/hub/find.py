"""`find_model`: the one place where a model's name becomes a path."""

import logging
from pathlib import Path

from templora_edge.errors import HubError
from templora_edge.models.hub.cache import find_cached
from templora_edge.models.hub.name import PREFIX, HubName, models_among, parts_of, quant_of
from templora_edge.models.hub.progress import DownloadProgress

_logger = logging.getLogger(__name__)


def model_path(model: str | Path) -> Path:
    """Path of a model that is given by its path, or as a name, ``hf:user/repo[:quant]``.

    Raises:
        OptionError: a name that is not of this form.
        HubError: see `find_model`.
    """
    if isinstance(model, str) and model.startswith(PREFIX):
        return find_model(HubName.parse(model.removeprefix(PREFIX)))
    return Path(model)


def find_model(
    name: HubName, *, offline: bool = False, progress: DownloadProgress | None = None
) -> Path:
    """Path of the model ``name``, which is downloaded unless a cache holds what the hub has.

    If the hub cannot be asked, a model of the cache is used, with a warning.

    Args:
        name: name of the model.
        offline: use no network, as with HF_HUB_OFFLINE.
        progress: what is told about downloads.

    Returns:
        The file's path in the cache; of a split model the path of its first part.

    Raises:
        HubError: there is no such model, it cannot be had, or it does not fit on the disk.
    """
    from huggingface_hub.constants import is_offline_mode

    if offline or is_offline_mode():
        cached = find_cached(name)
        if cached is None:
            raise HubError(
                f"{name}: not in the cache, and nothing is downloaded offline; run the command "
                "once without --offline and HF_HUB_OFFLINE (templora models lists what is cached)"
            )
        return cached
    from templora_edge.models.hub.download import fetch
    from templora_edge.models.hub.remote_repo import look_up

    try:
        repo = look_up(name)
    except HubError as error:
        cached = find_cached(name)
        if cached is None:
            raise
        _logger.warning("%s; the model is taken from the cache", error)
        return cached
    chosen = name.choose(list(repo.files))
    if chosen is None:
        raise HubError(f"{name}: {_what_there_is(name, list(repo.files))}")
    for part in parts_of(chosen):
        if part not in repo.files:
            raise HubError(f"{name}: the repository lacks {part}, a part of {chosen}")
    return fetch(name, repo, parts_of(chosen), progress or DownloadProgress())[0]


def _what_there_is(name: HubName, paths: list[str]) -> str:
    """What the repository has instead of the model that was named."""
    models = models_among(paths)
    if not models:
        return "no GGUF models in this repository; look for one whose name ends in -GGUF"
    if name.file is not None:
        return f"no file {name.file}; there are {', '.join(models)}"
    quants = dict.fromkeys(quant_of(path) or path for path in models)
    return f"no such quantization; there are {', '.join(quants)}"
