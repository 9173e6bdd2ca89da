"""A repository as the hub describes it, and the hub's errors in one line each."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.constants import ENDPOINT, HF_HUB_ETAG_TIMEOUT
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
)

from templora_edge.errors import HubError
from templora_edge.models.hub.name import HubName

USER_AGENT: Final = "templora-edge"
_DIGEST: Final = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_LOG_IN: Final = "log in with hf auth login or set HF_TOKEN"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository."""

    size: int
    """Size in bytes."""
    digest: str
    """Hex SHA-256 of a file in LFS, otherwise git's SHA-1 of the blob; names the cached file."""


@dataclass(frozen=True, slots=True)
class RemoteRepo:
    """The newest commit of a repository."""

    commit: str
    files: Mapping[str, RemoteFile]
    """Path -> file, in the hub's order."""


def endpoint() -> str:
    """Address of the hub: MODEL_ENDPOINT, as in llama.cpp, or what huggingface_hub uses."""
    return (os.environ.get("MODEL_ENDPOINT") or ENDPOINT).rstrip("/")


def look_up(name: HubName) -> RemoteRepo:
    """Ask the hub for the newest commit of the repository of ``name``.

    Raises:
        HubError: the hub cannot be reached, or does not give the repository.
    """
    api = HfApi(endpoint(), user_agent=USER_AGENT)
    with hub_errors(name):
        try:
            found = api.model_info(name.repo, files_metadata=True, timeout=HF_HUB_ETAG_TIMEOUT)
        except (ValueError, LookupError, TypeError) as error:  # no JSON, or not the hub's
            raise HubError(f"{name}: {endpoint()} does not answer as the hub does") from error
    files = {}
    for one in found.siblings or ():
        digest = one.lfs.sha256 if one.lfs else one.blob_id
        # both become parts of paths
        if one.size is not None and _DIGEST.fullmatch(digest or "") and _is_inside(one.rfilename):
            files[one.rfilename] = RemoteFile(one.size, str(digest))
    if not _DIGEST.fullmatch(found.sha or "") or (found.siblings and not files):
        raise HubError(f"{name}: {endpoint()} gives no checksums, so nothing can be downloaded")
    return RemoteRepo(str(found.sha), files)


def _is_inside(path: str) -> bool:
    """Whether ``path`` stays inside of the folder that it is relative to."""
    return not path.startswith("/") and ".." not in path.split("/")


@contextmanager
def hub_errors(name: HubName) -> Iterator[None]:
    """Turn errors of the hub and of the network into one that says what to do."""
    page = f"{endpoint()}/{name.repo}"
    try:
        yield
    except GatedRepoError as error:
        raise HubError(f"{name}: gated; accept its terms at {page}, then {_LOG_IN}") from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"{name}: no such repository at {endpoint()}; correct the name, or if it is private "
            f"{_LOG_IN}"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
            raise HubError(
                f"{name}: access is refused ({status}); see {page} for what it takes, and {_LOG_IN}"
            ) from error
        raise HubError(
            f"{name}: {endpoint()} answers {status} {error.response.reason_phrase}; try again later"
        ) from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise HubError(
            f"{name}: {endpoint()} cannot be reached ({_reason(error)}); check the network, or "
            "name a file with -m"
        ) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
