"""-hf on the command line, and `templora models`."""

import hashlib
import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from command import SMALL, TEMPLORA, check_failure
from gguf_files import copy_gguf
from hub_server import COMMIT, HubServer, Repo, serving

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.cli import download
from templora_edge.cli.app import app
from templora_edge.cli.progress import LINE_SECONDS

NAME = "toy/novels-GGUF"
FILE = "novels-Q8_0.gguf"


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with serving() as server:
        server.repos[NAME] = Repo({FILE: BUNDLED_MODEL.read_bytes()})
        yield server


@pytest.fixture(autouse=True)
def cache(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and the server as the hub."""
    folder = tmp_path / "llama"
    monkeypatch.setenv("LLAMA_CACHE", str(folder))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("MODEL_ENDPOINT", hub.url)
    monkeypatch.setenv("NO_PROXY", "*")
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return folder


def fresh(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a new interpreter: huggingface_hub reads its variables when imported."""
    command = [*TEMPLORA, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def test_a_name_writes_what_its_file_writes(hub: HubServer, cache: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    arguments = ["generate", "-p", "It was a dark night", *SMALL, "--no-templora", "-t", 1]
    by_name = fresh(*arguments, "-hf", f"{NAME}:q8_0", "--report", report)
    assert by_name.returncode == 0, by_name.stderr
    lines = by_name.stderr.splitlines()
    assert lines[0].startswith(f"downloading {FILE}: ")
    assert lines[1].startswith(f"downloaded {FILE}: ")
    assert by_name.stdout == fresh(*arguments).stdout != ""
    model = json.loads(report.read_text())["model"]
    assert Path(model["path"]).is_relative_to(cache)
    assert model["sha256"] == hashlib.sha256(BUNDLED_MODEL.read_bytes()).hexdigest()
    again = fresh(*arguments, "-hf", NAME, "--offline")
    assert (again.stdout, "download" in again.stderr) == (by_name.stdout, False)
    assert len(hub.downloads) == 1


def test_outputs_are_checked_before_a_download(hub: HubServer, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text("precious")
    check_failure(
        fresh("generate", "-hf", NAME, "-p", "x", "--report", report), "exists", "--force"
    )
    assert not hub.requests
    assert fresh("info", "-hf", NAME).returncode == 0
    cached = next(tmp_path.glob(f"llama/*/snapshots/*/{FILE}"))
    over = fresh("generate", "-hf", NAME, "-p", "x", "--adapter-out", cached, "--force")
    check_failure(over, "is the same file as -hf")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_download_goes_on(
    number: signal.Signals, hub: HubServer, cache: Path
) -> None:
    pause = hub.repos[NAME].pause = threading.Event()
    command = [*TEMPLORA, "info", "-hf", NAME, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert hub.in_the_middle.wait(60)
    half = len(BUNDLED_MODEL.read_bytes()) // 2
    rest = cache / f"models--{NAME.replace('/', '--')}" / "blobs"
    while sum(path.stat().st_size for path in rest.glob("*.incomplete")) < half // 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert b"Traceback" not in errors
    assert not list(cache.glob("*/snapshots/*/*"))
    check_failure(fresh("info", "-hf", NAME, "--offline"), "not in the cache")
    pause.set()
    found = fresh(*command[len(TEMPLORA) :])
    assert found.returncode == 0, found.stderr
    assert "are there" in found.stderr.splitlines()[0]
    assert Path(json.loads(found.stdout)["path"]).read_bytes() == BUNDLED_MODEL.read_bytes()
    begin = int(str(hub.downloads[-1].range).removeprefix("bytes=").removesuffix("-"))
    assert half // 2 <= begin <= half


def test_the_hubs_own_variables_are_honoured(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLAMA_CACHE")
    monkeypatch.delenv("MODEL_ENDPOINT")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    found = fresh("info", "-hf", NAME, "--json")
    assert found.returncode == 0, found.stderr
    assert Path(json.loads(found.stdout)["path"]).is_relative_to(tmp_path / "hf" / "hub")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = len(hub.requests)
    assert fresh("info", "-hf", NAME, "--json").stdout == found.stdout
    check_failure(fresh("info", "-hf", f"{NAME}:Q4_0"), "not in the cache", "HF_HUB_OFFLINE")
    assert len(hub.requests) == asked


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("toy/none", ["toy/none: no such repository", "hf auth login"]),
        (f"{NAME}:Q4_K_M", [f"{NAME}:Q4_K_M: no such quantization; there are Q8_0"]),
        ("toy/gated", ["gated", "accept its terms", "HF_TOKEN"]),
    ],
)
def test_errors_are_one_line(name: str, words: list[str], hub: HubServer) -> None:
    hub.repos["toy/gated"] = Repo({FILE: b"GGUF"}, gated=True)
    check_failure(fresh("generate", "-hf", name, "-p", "x"), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "-m", "x.gguf", "-hf", NAME], "give -m or -hf, not both"),
        (["info", "x.gguf", "-hf", NAME], "give FILE.gguf or -hf, not both"),
        (["info", "-hff", FILE], "-hff needs -hf"),
        (["info", "-hf", "novels"], "'novels' is no name of a model"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str, hub: HubServer) -> None:
    result = fresh(*arguments)
    assert result.returncode == 2
    assert words in " ".join(result.stderr.split())
    assert not hub.requests


def options_of(command: Any, name: str = "templora") -> dict[str, set[str]]:
    """Command -> its flags."""
    inner = getattr(command, "commands", {})
    found = {name: {flag for option in command.params for flag in option.opts}}
    for one in inner.values():
        found |= options_of(one, f"{name} {one.name}")
    return found


def test_every_command_with_a_model_takes_a_name() -> None:
    with_model = {name for name, flags in options_of(typer.main.get_command(app)).items()
                  if "-m" in flags}  # fmt: skip
    assert {"templora generate", "templora translate", "templora convert lora"} <= with_model
    for name, flags in options_of(typer.main.get_command(app)).items():
        if name in with_model:
            assert {"-hf", "--hf-repo", "-hff", "--hf-file", "--offline"} <= flags, name


def test_models_lists_what_is_cached(hub: HubServer, cache: Path, tmp_path: Path) -> None:
    empty = fresh("models")
    assert (empty.returncode, empty.stdout) == (0, "")
    assert str(cache) in empty.stderr
    assert fresh("models", "--json").stdout.strip() == "[]"
    folder = cache / "models--other--mixed" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    parts = folder / "toy-Q8_0.gguf"
    copy_gguf(BUNDLED_MODEL, parts, split_max_tensors=20)
    (folder / "toy-F16.gguf").write_bytes(BUNDLED_MODEL.read_bytes()[:5000])
    (folder / "toy-again-F16.gguf").write_bytes(b"no model")
    (folder / "mmproj-F16.gguf").write_bytes(b"no model either")
    assert fresh("info", "-hf=" + NAME).returncode == 0
    listed = json.loads(fresh("models", "--json").stdout)
    assert [(one["name"], one["file"]) for one in listed] == [
        ("other/mixed:F16", None),
        ("other/mixed:Q8_0", None),
        ("other/mixed", "toy-again-F16.gguf"),
        (f"{NAME}:Q8_0", None),
    ]
    truncated, split, text, whole = listed
    assert (whole["architecture"], whole["templora"]) == ("llama", True)
    assert whole["file_bytes"] == len(BUNDLED_MODEL.read_bytes())
    assert split["file_bytes"] == sum(p.stat().st_size for p in folder.glob("toy-Q8_0-*"))
    assert split["templora"]
    assert "truncated" in truncated["templora_reason"]
    assert "not a GGUF" in text["templora_reason"]
    rows = fresh("models").stdout.splitlines()
    assert rows[0].split() == ["-hf", "size", "architecture", "Temp-LoRA", "path"]
    assert rows[-1].split() == [f"{NAME}:Q8_0", *rows[-1].split()[1:3], "llama", "yes",
                                whole["path"]]  # fmt: skip
    assert "unusable" in rows[1]
    for one in listed:
        more = ["-hff", one["file"]] if one["file"] else []
        found = fresh("info", "-hf", one["name"], *more, "--offline", "--json")
        assert (found.returncode == 0) == one["templora"], found.stderr


def test_progress_in_a_pipe_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    mib = 1 << 20
    with download.DownloadLine() as line:
        line.begin("m.gguf", 100 * mib, 200 * mib)
        for second in range(1, 51):
            now = float(second)
            line.update((100 + 2 * second) * mib)
        line.finish()
    rows = capfd.readouterr().err.splitlines()
    assert rows[0] == "downloading m.gguf: 200 MiB, of which 100 MiB are there"
    assert rows[1] == "m.gguf: 120 MiB of 200 MiB (60 %), 2 MiB/s, ETA 0:40"
    assert rows[-1] == "downloaded m.gguf: 200 MiB in 0:50"
    assert len(rows) == 2 + 50 // LINE_SECONDS
