"""Downloads into a cache: resumed where they stopped, checked, and linked as the hub does.

huggingface_hub's own download begins anew after an interruption and compares sizes only.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx2
from huggingface_hub import get_session, hf_hub_url
from huggingface_hub.constants import HF_HUB_DOWNLOAD_TIMEOUT
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # it has no __all__
    build_hf_headers,
    hf_raise_for_status,
)

from templora_edge.errors import HubError
from templora_edge.host.files import sha256_of
from templora_edge.models.hub.cache import cache_folders, repo_folder
from templora_edge.models.hub.name import HubName
from templora_edge.models.hub.progress import DownloadProgress
from templora_edge.models.hub.remote_repo import (
    USER_AGENT,
    RemoteFile,
    RemoteRepo,
    endpoint,
    hub_errors,
)

_logger = logging.getLogger(__name__)

_MAX_FAILURES: Final = 5
"""Attempts in a row that brought no byte, before a download is given up."""
_SHA256_LENGTH: Final = 64
"""Length of a hex SHA-256."""


def fetch(
    name: HubName, repo: RemoteRepo, paths: Sequence[str], progress: DownloadProgress
) -> list[Path]:
    """Ensure that a cache holds the files ``paths`` of ``repo``, and return where.

    All are in the same cache: the first that holds them, or the one that downloads go to.

    Raises:
        HubError: a file cannot be had or is not what the hub describes, or the disk is full.
    """
    files = [repo.files[path] for path in paths]
    folders = [repo_folder(cache, name.repo) for cache in cache_folders()]
    for folder in folders:
        links = [_link_in(folder, repo, path) for path in paths]
        if all(map(_is_whole, links, files)):
            return links
    folder = next((one for one in folders if _holds(one, files)), folders[0])
    with hub_errors(name), _disk_errors(name, folder.parent):
        found = [_fetch_one(name, repo, path, folder, progress) for path in paths]
        _write(folder / "refs" / "main", repo.commit)
    return found


def _fetch_one(
    name: HubName, repo: RemoteRepo, path: str, folder: Path, progress: DownloadProgress
) -> Path:
    file = repo.files[path]
    link, blob = _link_in(folder, repo, path), _blob_in(folder, file)
    # the lock that huggingface_hub takes too
    with _locked(folder.parent / ".locks" / folder.name / f"{file.digest}.lock", name):
        if _is_whole(link, file):
            return link
        if not _is_whole(blob, file):
            url = hf_hub_url(name.repo, path, revision=repo.commit, endpoint=endpoint())
            part = blob.with_name(f"{blob.name}.incomplete")
            part.parent.mkdir(parents=True, exist_ok=True)
            _download(name, url, part, file, path, progress)
            part.replace(blob)
            progress.finish()
        _link(link, blob)
    return link


def _download(
    name: HubName, url: str, part: Path, file: RemoteFile, path: str, progress: DownloadProgress
) -> None:
    """Download the rest of ``part``, and check the whole."""
    if _size(part) > file.size:
        part.unlink()
    done = _size(part)
    free = shutil.disk_usage(part.parent).free
    if free < file.size - done:
        raise HubError(
            f"{name}: {path} needs {_mib(file.size - done)} more in {part.parent}, where "
            f"{_mib(free)} are free; make room, or set LLAMA_CACHE or HF_HOME to another folder"
        )
    begun, failures = False, 0
    while (done := _size(part)) < file.size:
        try:
            for there in _append(url, part, done):
                if not begun:  # not before the hub has agreed
                    progress.begin(path, there, file.size)
                    begun = True
                progress.update(there)
        except httpx2.TransportError:
            if failures == _MAX_FAILURES:
                raise
        failures = 0 if _size(part) > done else failures + 1
        if failures > _MAX_FAILURES:
            raise HubError(f"{name}: {endpoint()} sends no more of {path}; try again later")
        time.sleep(failures)
    if not begun:
        progress.begin(path, done, file.size)
    digest = _digest(part, file)
    if digest != file.digest:
        part.unlink()
        raise HubError(
            f"{name}: {path} came damaged (its digest is {digest}, expected {file.digest}) and was "
            "removed; run the command again"
        )


def _append(url: str, part: Path, done: int) -> Iterator[int]:
    """Append what comes after the first ``done`` bytes; yields how many bytes there are."""
    headers = build_hf_headers(user_agent=USER_AGENT)
    headers |= {"Range": f"bytes={done}-", "Accept-Encoding": "identity"}
    timeout = HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
        hf_raise_for_status(response)
        resumes = response.status_code == httpx2.codes.PARTIAL_CONTENT
        with part.open("ab" if resumes else "wb") as out:
            yield out.tell()
            for chunk in response.iter_bytes():
                out.write(chunk)
                yield out.tell()
            os.fsync(out.fileno())


def _digest(path: Path, file: RemoteFile) -> str:
    """The digest of ``path``, of the kind that the hub gives."""
    if len(file.digest) == _SHA256_LENGTH:
        return sha256_of(path)
    with path.open("rb") as data:
        blob = hashlib.sha1(b"blob %d\0" % _size(path), usedforsecurity=False)
        return hashlib.file_digest(data, lambda: blob).hexdigest()


def _link(link: Path, blob: Path) -> None:
    """Let ``link`` lead to ``blob``; where links are impossible, ``blob`` goes there itself."""
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(os.path.relpath(blob, link.parent))
    except OSError:
        blob.replace(link)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


@contextmanager
def _locked(path: Path, name: HubName) -> Iterator[None]:
    """Hold the lock at ``path``, which downloads of the same file wait for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _logger.warning("%s: waiting for another process that downloads it", name)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:  # some network file systems have no locks
            pass
        yield


@contextmanager
def _disk_errors(name: HubName, cache: Path) -> Iterator[None]:
    try:
        yield
    except httpx2.HTTPError:  # some are OSErrors too
        raise
    except OSError as error:
        reason = error.strerror or error
        raise HubError(
            f"{name}: {cache} cannot be written ({reason}); make room, or set LLAMA_CACHE or "
            "HF_HOME to another folder"
        ) from error


def _link_in(folder: Path, repo: RemoteRepo, path: str) -> Path:
    return folder / "snapshots" / repo.commit / path


def _blob_in(folder: Path, file: RemoteFile) -> Path:
    return folder / "blobs" / file.digest


def _holds(folder: Path, files: Sequence[RemoteFile]) -> bool:
    return all(_is_whole(_blob_in(folder, file), file) for file in files)


def _is_whole(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and _size(path) == file.size


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.0f} MiB"
