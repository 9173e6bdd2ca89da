"""Fixtures: generated models, pretrained models, llama.cpp's sources, temporary storage."""

import fcntl
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import make_tokenizer
from parity import EXACT
from paths import REAL_MODELS, ROOT
from terminal import Terminal
from texts import FRENCH
from transformers import LlamaConfig, LlamaForCausalLM
from warm import Forked

from templora_converters import hf_to_gguf
from templora_edge.engine import LlamaEngine
from templora_edge.host.workspace import default_root
from templora_edge.training import client

FRESH_TRAINER = client.COMMAND
ALLOWED_SKIPS = ROOT / "tests" / "allowed_skips.txt"
NEEDS = {"smollm2": "models", "gemma3": "models", "llama_cpp_source": "network"}
"""Fixture -> mark of the tests that use it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-skips",
        action="store_true",
        help=f"Fail if a test is skipped for a reason that {ALLOWED_SKIPS.name} does not list.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several workers its own cores, because ggml's and torch's threads spin."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and hasattr(os, "sched_setaffinity"):
        number, workers = int(worker[2:]), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        cores = sorted(os.sched_getaffinity(0))
        own = cores[number::workers] or [cores[number % len(cores)]]
        os.sched_setaffinity(0, own)
        torch.set_num_threads(len(own))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in NEEDS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(NEEDS[fixture])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if not session.config.getoption("strict_skips") or hasattr(session.config, "workerinput"):
        return
    allowed = [line.partition("  # ")[0] for line in ALLOWED_SKIPS.read_text().splitlines()]
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    for report in reporter.stats.get("skipped", []):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not any(fnmatch(reason, pattern) for pattern in allowed):
            reporter.write_line(f"\nskipped: {report.nodeid}: {reason}", red=True)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def real_model(name: str) -> Path:
    """A pretrained model; the test is skipped if scripts/models could not fetch it."""
    path = REAL_MODELS[name]
    if not path.is_file():
        pytest.skip(f"{path} is missing; scripts/models fetches it")
    return path


@pytest.fixture(scope="session")
def smollm2() -> Path:
    return real_model("smollm2")


@pytest.fixture(scope="session")
def gemma3() -> Path:
    return real_model("gemma3")


@pytest.fixture(scope="session", autouse=True)
def own_defaults() -> Iterator[None]:
    """Defaults of flags are the product's own, whatever the user's variables and file say."""
    with pytest.MonkeyPatch.context() as m:
        for name in [*os.environ]:
            if name.startswith(("TEMPLORA_", "LLAMA_ARG_")):
                m.delenv(name)
        m.setenv("TEMPLORA_CONFIG", os.devnull)
        yield


@pytest.fixture(scope="session", autouse=True)
def own_storage() -> Iterator[None]:
    """Temporary storage for these tests only: they look for what runs leave there."""
    with (
        tempfile.TemporaryDirectory(dir=default_root()) as folder,
        pytest.MonkeyPatch.context() as m,
    ):
        m.setenv("TMPDIR", folder)
        m.setattr(tempfile, "tempdir", None)
        yield


@pytest.fixture(scope="session", autouse=True)
def forked_trainers() -> Iterator[None]:
    """Start training processes in forks that need not load torch again."""
    with pytest.MonkeyPatch.context() as m:
        m.setattr(client, "COMMAND", Forked("templora_edge.training"))
        yield


@pytest.fixture(scope="module")
def fresh_trainers() -> Iterator[None]:
    """Start training processes as for users, for tests that look at the process itself."""
    with pytest.MonkeyPatch.context() as m:
        m.setattr(client, "COMMAND", FRESH_TRAINER)
        yield


@pytest.fixture(scope="session")
def tiny_hf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with grouped queries and a head size that is not width / heads."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    n_vocab = make_tokenizer(folder)
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=n_vocab,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_gguf(tiny_hf: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``tiny_hf`` as a GGUF of a given type."""
    folder = tmp_path_factory.mktemp("tiny-gguf")

    def make(file_type: str) -> Path:
        path = folder / f"{file_type}.gguf"
        if not path.exists():
            hf_to_gguf.convert(tiny_hf, path, file_type)
        return path

    return make


@pytest.fixture
def novel(tmp_path: Path) -> Path:
    """A text of two times eight paragraphs in French."""
    path = tmp_path / "roman.txt"
    path.write_text("\n\n".join(FRENCH * 2) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened = []

    def open_terminal(columns: int, rows: int = 24) -> Terminal:
        opened.append(Terminal(columns, rows))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.close()


@pytest.fixture
def tiny_engine(tiny_gguf: Callable[[str], Path]) -> Iterator[LlamaEngine]:
    with LlamaEngine(tiny_gguf("f32"), EXACT) as engine:
        yield engine


@pytest.fixture(scope="session")
def tokens() -> list[int]:
    """256 token ids that any test model knows."""
    return [int(token) for token in np.random.default_rng(3).integers(1, 300, 256)]


@pytest.fixture(scope="session")
def llama_cpp_source(request: pytest.FixtureRequest) -> Path:
    """llama.cpp's sources, as in the source distribution of llama-cpp-python."""
    folder = ROOT / ".cache" / "llama_cpp_python-0.3.36"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:  # one worker fetches it for all
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _fetch_source(folder)
    return folder / "vendor" / "llama.cpp"


def _fetch_source(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary=:all:"]
    result = subprocess.run(
        [*command, "-d", str(folder.parent), folder.name.replace("_python-", "_python==")],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if result.returncode != 0:
        pytest.skip(f"the source distribution cannot be had: {result.stderr[-300:]}")
    with tarfile.open(folder.parent / f"{folder.name}.tar.gz") as archive:
        archive.extractall(folder.parent, filter="data")
