"""Models by name: which file is meant, the caches, downloads and their faults."""

import hashlib
import logging
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from disks import disk
from hub_server import COMMIT, HubServer, Repo, serving
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.utils import close_session  # type: ignore[attr-defined]

from templora_edge import Options, SamplingOptions, TempLora
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.errors import HubError, OptionError
from templora_edge.models.hub import download
from templora_edge.models.hub.find import find_model, model_path
from templora_edge.models.hub.name import HubName, models_among
from templora_edge.models.hub.progress import DownloadProgress

DATA = bytes(range(256)) * 1200
OTHER = DATA[::-1]
QWEN = [
    "README.md",
    "mmproj-Qwen-Q4_K_M.gguf",
    "Qwen-BF16.gguf",
    "Qwen-F16.gguf",
    "Qwen-IQ4_XS.gguf",
    "Qwen-Q4_K_M.gguf",
    "Qwen-Q8_0.gguf",
    "Qwen-UD-Q2_K_XL.gguf",
    "Qwen-imatrix.gguf",
    "mtp-Qwen-Q4_K_M.gguf",
    "Qwen-Q6_K-00001-of-00002.gguf",
    "Qwen-Q6_K-00002-of-00002.gguf",
]


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def cache(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and the server as the hub."""
    folder = tmp_path / "llama"
    monkeypatch.setenv("LLAMA_CACHE", str(folder))
    monkeypatch.setenv("MODEL_ENDPOINT", hub.url)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    close_session()
    yield folder
    close_session()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a/b", "Qwen-Q4_K_M.gguf"),
        ("a/b:q8_0", "Qwen-Q8_0.gguf"),
        ("a/b:f16", "Qwen-F16.gguf"),
        ("a/b:BF16", "Qwen-BF16.gguf"),
        ("a/b:iq4_xs", "Qwen-IQ4_XS.gguf"),
        ("a/b:UD-Q2_K_XL", "Qwen-UD-Q2_K_XL.gguf"),
        ("a/b:Q2_K_XL", "Qwen-UD-Q2_K_XL.gguf"),
        ("a/b:Q6_K", "Qwen-Q6_K-00001-of-00002.gguf"),
        ("a/b:Q5_K_M", None),
        ("a/b:imatrix", None),
        ("a/b:Q4_K", None),
    ],
)
def test_the_file_that_a_name_means(name: str, file: str | None) -> None:
    assert HubName.parse(name).choose(QWEN) == file


def test_without_a_quantization_there_are_defaults() -> None:
    name = HubName.parse("a/b")
    without = [path for path in QWEN if "Q4_K_M" not in path]
    assert name.choose(without) == "Qwen-Q8_0.gguf"
    assert name.choose([path for path in without if "Q8" not in path]) == "Qwen-BF16.gguf"
    assert name.choose(["mmproj-F16.gguf", "README.md"]) is None
    assert HubName.parse("a/b", "mmproj-Qwen-Q4_K_M.gguf").choose(QWEN) == QWEN[1]


@pytest.mark.parametrize("quant", ["", "Q4_K_M", "q8_0", "BF16", "UD-Q2_K_XL", "Q6_K", "Q3_K_S"])
def test_names_mean_what_they_mean_in_llama_cpp(quant: str) -> None:
    """`find_best_model` of its download.cpp, line by line."""
    expected = None
    for tag in [quant] if quant else ["Q4_K_M", "Q8_0"]:
        for path in models_among(QWEN):
            if expected is None and re.search(f"{tag}[.-]", path, re.IGNORECASE):
                expected = path
    assert HubName("a/b", quant or None).choose(QWEN) == expected


@pytest.mark.parametrize(
    "text", ["", "b", "a/b/c", "a/b:", "/b", "a/../b", "a/b:c:d", "a//b", "a/.b", "a b/c", "a/bé"]
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(OptionError, match="expected USER/REPO"):
        HubName.parse(text)


def test_a_download_lies_where_the_hub_and_llama_cpp_look(hub: HubServer, cache: Path) -> None:
    hub.repos["a/b"] = Repo({"sub/model-Q8_0.gguf": DATA})
    path = find_model(HubName.parse("a/b:q8_0"))
    assert path.read_bytes() == DATA
    folder = cache / "models--a--b"
    assert path == folder / "snapshots" / COMMIT / "sub" / "model-Q8_0.gguf"
    assert path.resolve() == folder.resolve() / "blobs" / hashlib.sha256(DATA).hexdigest()
    assert not path.readlink().is_absolute()
    assert (folder / "refs" / "main").read_text() == COMMIT
    assert [one.name for one in (folder / "blobs").iterdir()] == [path.resolve().name]
    found = try_to_load_from_cache("a/b", "sub/model-Q8_0.gguf", cache_dir=cache)
    assert found == str(path)
    asked = len(hub.downloads)
    theirs = hf_hub_download("a/b", "sub/model-Q8_0.gguf", endpoint=hub.url, cache_dir=cache)
    assert theirs == str(path)
    assert find_model(HubName.parse("a/b")) == path
    assert len(hub.downloads) == asked == 1


def test_what_the_hubs_library_downloaded_is_used(hub: HubServer, cache: Path) -> None:
    hub.repos["a/b"] = Repo({"model-Q8_0.gguf": DATA})
    theirs = hf_hub_download("a/b", "model-Q8_0.gguf", endpoint=hub.url, cache_dir=cache)
    asked = len(hub.downloads)
    assert find_model(HubName.parse("a/b")) == Path(theirs)
    assert len(hub.downloads) == asked


def as_llama_cpp(cache: Path, path: str, data: bytes, commit: str, *, links: bool) -> Path:
    """A file as hf-cache.cpp leaves it."""
    folder = cache / "models--a--b"
    blob = folder / "blobs" / hashlib.sha256(data).hexdigest()
    final = folder / "snapshots" / commit / path
    for file in (folder / "refs" / "main", blob, final):
        file.parent.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    (blob if links else final).write_bytes(data)
    if links:
        final.symlink_to(os.path.relpath(blob, final.parent))
    return final


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("offline", [True, False])
def test_what_llama_cpp_downloaded_is_used(
    *, links: bool, offline: bool, hub: HubServer, cache: Path
) -> None:
    hub.repos["a/b"] = Repo({"model-Q8_0.gguf": DATA})
    path = as_llama_cpp(cache, "model-Q8_0.gguf", DATA, COMMIT, links=links)
    assert find_model(HubName.parse("a/b"), offline=offline) == path
    assert not hub.downloads
    assert bool(hub.requests) != offline


def test_both_caches_are_read_and_the_first_is_written(
    hub: HubServer, cache: Path, tmp_path: Path
) -> None:
    hub.repos["a/b"] = Repo({"model-Q8_0.gguf": DATA, "model-Q4_0.gguf": OTHER})
    theirs = as_llama_cpp(tmp_path / "hub", "model-Q8_0.gguf", DATA, COMMIT, links=True)
    assert find_model(HubName.parse("a/b")) == theirs
    new = find_model(HubName.parse("a/b:Q4_0"))
    assert new.is_relative_to(cache)
    assert find_model(HubName.parse("a/b:Q8_0"), offline=True) == theirs


def test_a_new_commit_with_the_same_bytes_is_not_downloaded(hub: HubServer, cache: Path) -> None:
    hub.repos["a/b"] = Repo({"model-Q8_0.gguf": DATA})
    first = find_model(HubName.parse("a/b"))
    hub.repos["a/b"] = Repo({"model-Q8_0.gguf": DATA}, commit="f" * 40)
    second = find_model(HubName.parse("a/b"))
    assert (second.parent.name, second.resolve()) == ("f" * 40, first.resolve())
    hub.repos["a/b"] = Repo({"model-Q8_0.gguf": OTHER}, commit="e" * 40)
    assert find_model(HubName.parse("a/b")).read_bytes() == OTHER
    assert len(hub.downloads) == 2
    assert find_model(HubName.parse("a/b"), offline=True).parent.name == "e" * 40


def test_all_parts_of_a_split_model_are_fetched(hub: HubServer) -> None:
    parts = {f"m-Q8_0-0000{k}-of-00003.gguf": DATA[k:] for k in (1, 2, 3)}
    hub.repos["a/b"] = Repo(parts)
    path = find_model(HubName.parse("a/b:Q8_0"))
    assert path.name == "m-Q8_0-00001-of-00003.gguf"
    assert {one.name: one.read_bytes() for one in path.parent.iterdir()} == parts
    asked = len(hub.downloads)
    by_file = HubName.parse("a/b", "m-Q8_0-00002-of-00003.gguf")
    assert find_model(by_file) == path
    assert len(hub.downloads) == asked == 3
    path.with_name("m-Q8_0-00002-of-00003.gguf").unlink()
    with pytest.raises(HubError, match="not in the cache"):
        find_model(HubName.parse("a/b:Q8_0"), offline=True)
    del hub.repos["a/b"].files["m-Q8_0-00003-of-00003.gguf"]
    with pytest.raises(HubError, match=r"lacks m-Q8_0-00003-of-00003\.gguf"):
        find_model(HubName.parse("a/b:Q8_0"))


class Seen(DownloadProgress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int, int]] = []
        self.done: list[int] = []

    def begin(self, file: str, done: int, total: int) -> None:
        self.begun.append((file, done, total))

    def update(self, done: int) -> None:
        self.done.append(done)

    def finish(self) -> None:
        self.done.append(-1)


def test_a_connection_that_ends_is_opened_again_where_it_ended(hub: HubServer) -> None:
    hub.repos["a/b"] = Repo({"m-Q8_0.gguf": DATA}, cuts=2)
    seen = Seen()
    path = find_model(HubName.parse("a/b"), progress=seen)
    assert path.read_bytes() == DATA
    half = len(DATA) // 2
    begins = [f"bytes={begin}-" for begin in (0, half, half + (len(DATA) - half) // 2)]
    assert [one.range for one in hub.downloads] == begins
    assert seen.begun == [("m-Q8_0.gguf", 0, len(DATA))]
    assert seen.done == [*sorted(seen.done[:-1]), -1]
    assert seen.done[-2] == len(DATA)


def test_a_server_without_ranges_begins_again(hub: HubServer) -> None:
    hub.repos["a/b"] = Repo({"m-Q8_0.gguf": DATA}, cuts=1, ranges=False)
    assert find_model(HubName.parse("a/b")).read_bytes() == DATA


def test_a_server_that_sends_nothing_is_given_up(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_MAX_FAILURES", 1)
    hub.repos["a/b"] = Repo({"m-Q8_0.gguf": DATA}, served={"m-Q8_0.gguf": b""})
    with pytest.raises(HubError, match="sends no more"):
        find_model(HubName.parse("a/b"))


ALTERED = DATA[:1000] + b"\xff\xff" + DATA[1002:]


def test_altered_bytes_are_never_used(hub: HubServer, cache: Path) -> None:
    hub.repos["a/b"] = Repo({"m-Q8_0.gguf": DATA}, served={"m-Q8_0.gguf": ALTERED})
    with pytest.raises(HubError, match="came damaged"):
        find_model(HubName.parse("a/b"))
    assert not list((cache / "models--a--b" / "blobs").iterdir())
    with pytest.raises(HubError, match="not in the cache"):
        find_model(HubName.parse("a/b"), offline=True)
    hub.repos["a/b"].served.clear()
    assert find_model(HubName.parse("a/b")).read_bytes() == DATA


def test_the_hubs_library_alone_would_use_them(hub: HubServer, cache: Path) -> None:
    """Why this project downloads by itself; if it fails, that can go."""
    hub.repos["a/b"] = Repo({"m-Q8_0.gguf": DATA}, served={"m-Q8_0.gguf": ALTERED})
    taken = hf_hub_download("a/b", "m-Q8_0.gguf", endpoint=hub.url, cache_dir=cache)
    assert Path(taken).read_bytes() == ALTERED


def test_a_truncated_file_is_never_used(hub: HubServer, cache: Path) -> None:
    """Neither where the server has no more, nor in the cache."""
    hub.repos["a/b"] = Repo({"m-Q8_0.gguf": DATA}, served={"m-Q8_0.gguf": DATA[:-1]})
    with pytest.raises(HubError, match="416"):
        find_model(HubName.parse("a/b"))
    hub.repos["a/b"].served.clear()
    path = find_model(HubName.parse("a/b"))
    assert path.read_bytes() == DATA
    path.resolve().write_bytes(DATA[:100])
    assert find_model(HubName.parse("a/b")).read_bytes() == DATA


def test_a_rest_that_is_whole_is_checked_and_used(hub: HubServer, cache: Path) -> None:
    """As if the process had been killed before the file got its name."""
    hub.repos["a/b"] = Repo({"m-Q8_0.gguf": DATA})
    blobs = cache / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{hashlib.sha256(DATA).hexdigest()}.incomplete").write_bytes(DATA)
    seen = Seen()
    assert find_model(HubName.parse("a/b"), progress=seen).read_bytes() == DATA
    assert (seen.begun, seen.done) == ([("m-Q8_0.gguf", len(DATA), len(DATA))], [-1])
    assert not hub.downloads


def test_a_longer_rest_than_the_file_is_thrown_away(hub: HubServer, cache: Path) -> None:
    hub.repos["a/b"] = Repo({"m-Q8_0.gguf": DATA})
    blobs = cache / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{hashlib.sha256(DATA).hexdigest()}.incomplete").write_bytes(DATA + b"x")
    assert find_model(HubName.parse("a/b")).read_bytes() == DATA


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a/none", "no such repository"),
        ("a/private", "no such repository"),
        ("a/gated", "gated; accept its terms at http"),
        ("a/down", "answers 503"),
        ("a/forbidden", r"access is refused \(403\)"),
        ("a/models:Q5_0", "no such quantization; there are Q8_0, Q4_0$"),
        ("a/data", "no GGUF models in this repository"),
    ],
)
def test_what_cannot_be_had(name: str, words: str, hub: HubServer) -> None:
    hub.repos |= {
        "a/private": Repo({"m-Q8_0.gguf": DATA}, private=True),
        "a/gated": Repo({"m-Q8_0.gguf": DATA}, gated=True),
        "a/down": Repo({"m-Q8_0.gguf": DATA}, status=503),
        "a/forbidden": Repo({"m-Q8_0.gguf": DATA}, status=403),
        "a/models": Repo({"m-Q8_0.gguf": DATA, "m-Q4_0.gguf": DATA, "mmproj-Q5_0.gguf": DATA}),
        "a/data": Repo({"README.md": b"text", "model.safetensors": DATA}),
    }
    with pytest.raises(HubError, match=words) as caught:
        find_model(HubName.parse(name))
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)
    assert not hub.downloads


def test_a_file_that_is_not_there(hub: HubServer) -> None:
    hub.repos["a/b"] = Repo({"m-Q8_0.gguf": DATA})
    with pytest.raises(HubError, match=r"no file x\.gguf; there are m-Q8_0\.gguf"):
        find_model(HubName.parse("a/b", "x.gguf"))


def test_tokens_open_what_is_closed_and_go_to_the_hub_alone(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos["a/gated"] = Repo({"m-Q8_0.gguf": DATA}, gated=True, private=True)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert find_model(HubName.parse("a/gated")).read_bytes() == DATA
    assert all(one.authorization for one in hub.requests if one not in hub.downloads)
    assert [one.authorization for one in hub.downloads] == [None]
    assert hub.downloads[0].host.startswith("localhost")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(HubError, match=r"access is refused \(401\)"):
        find_model(HubName.parse("a/other"))


def unused_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("fault", ["no network", "down", "gone"])
def test_without_the_hub_the_cache_serves(
    fault: str, hub: HubServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hub.repos["a/b"] = Repo({"m-Q8_0.gguf": DATA})
    path = find_model(HubName.parse("a/b"))
    if fault == "no network":
        monkeypatch.setenv("MODEL_ENDPOINT", f"http://127.0.0.1:{unused_port()}")
    elif fault == "down":
        hub.repos["a/b"].status = 503
    else:
        del hub.repos["a/b"]
    with caplog.at_level(logging.WARNING, "templora_edge"):
        assert find_model(HubName.parse("a/b")) == path
    assert caplog.messages[0].endswith("the model is taken from the cache")
    if fault == "no network":
        with pytest.raises(HubError, match="cannot be reached") as caught:
            find_model(HubName.parse("a/b:Q4_0"))
        assert "\n" not in str(caught.value)


def test_offline_nothing_is_asked(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos["a/b"] = Repo({"m-Q8_0.gguf": DATA})
    with pytest.raises(HubError, match="not in the cache, and nothing is downloaded offline"):
        find_model(HubName.parse("a/b"), offline=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
        find_model(HubName.parse("a/b"))
    assert not hub.requests


def test_what_is_no_hub(hub: HubServer) -> None:
    hub.repos["a/other"] = Repo({}, status=200)
    with pytest.raises(HubError, match="does not answer as the hub does"):
        find_model(HubName.parse("a/other"))
    hub.repos["a/api"] = Repo({"m-Q8_0.gguf": DATA}, commit="../../x")
    with pytest.raises(HubError, match="gives no checksums"):
        find_model(HubName.parse("a/api"))


def test_paths_that_lead_out_of_the_cache_are_no_files(hub: HubServer, tmp_path: Path) -> None:
    hub.repos["a/b"] = Repo({"../../../../m-Q8_0.gguf": DATA, "/m-Q8_0.gguf": DATA, "x": b"x"})
    with pytest.raises(HubError, match="no GGUF models"):
        find_model(HubName.parse("a/b"))


def test_two_downloads_of_one_file_take_turns(
    hub: HubServer, caplog: pytest.LogCaptureFixture
) -> None:
    pause = threading.Event()
    hub.repos["a/b"] = Repo({"m-Q8_0.gguf": DATA}, pause=pause)
    found: list[Path] = []
    with caplog.at_level(logging.WARNING, "templora_edge"):
        threads = [
            threading.Thread(target=lambda: found.append(find_model(HubName.parse("a/b"))))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        assert hub.in_the_middle.wait(20)
        for _ in range(2000):
            if caplog.messages:
                break
            threads[0].join(0.01)
        pause.set()
        for thread in threads:
            thread.join()
    assert caplog.messages == ["a/b: waiting for another process that downloads it"]
    assert len(found) == 2
    assert len(hub.downloads) == 1


@pytest.mark.parametrize("room", ["none", "taken"])
def test_a_full_disk(
    room: str, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too small from the beginning, or filled by others meanwhile."""
    data = DATA * 3 if room == "none" else DATA
    hub.repos["a/b"] = Repo({"m-Q8_0.gguf": data}, pause=threading.Event())
    pause = hub.repos["a/b"].pause
    assert pause is not None
    with disk(tmp_path / "disk", "512k") as mounted:
        if not mounted:
            pytest.skip("needs the right to mount a file system")
        monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "disk"))

        def fill() -> None:
            hub.in_the_middle.wait(20)
            with suppress(OSError), (tmp_path / "disk" / "other").open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            pause.set()

        others = threading.Thread(target=fill)
        if room == "taken":
            others.start()
        with pytest.raises(HubError, match="LLAMA_CACHE or HF_HOME") as caught:
            find_model(HubName.parse("a/b"))
        assert "\n" not in str(caught.value)
        if room == "taken":
            others.join()
            assert "No space left" in str(caught.value)
            (tmp_path / "disk" / "other").unlink()
            assert find_model(HubName.parse("a/b")).read_bytes() == data
        else:
            assert "needs 1 MiB more" in str(caught.value)
            assert not hub.downloads


def test_in_python_a_name_is_as_good_as_a_path(hub: HubServer, cache: Path) -> None:
    hub.repos["a/b"] = Repo({"toy-Q8_0.gguf": BUNDLED_MODEL.read_bytes()})
    learns = Options().changed(own_learning_rate=1e-3, rank=4, train_dtype="fp32")
    with TempLora("hf:a/b:q8_0", learns, n_ctx=128, block_len=16) as text:
        assert text.base.path.is_relative_to(cache)
        sampling = SamplingOptions(seed=1, ignore_eos=True)
        for _ in text.generate("It was", n_predict=20, sampling=sampling):
            pass
        assert text.blocks[0].loss_before is not None
    assert model_path("a/b") == Path("a/b")
    with pytest.raises(OptionError, match="expected USER/REPO"):
        model_path("hf:model.gguf")
