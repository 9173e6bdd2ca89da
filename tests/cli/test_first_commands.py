"""README's first commands, as typed, on an empty cache."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import HubServer, Repo, serving
from paths import ROOT

from templora_edge.assets import BUNDLED_MODEL

NAME = re.compile(r" -hf (\S+)")


def first_commands() -> list[str]:
    """The commands of the first block of README that has any of templora."""
    blocks = re.findall(r"^```\n(.*?)^```$", (ROOT / "README.md").read_text(), re.S | re.M)
    commands = next(block for block in blocks if re.search("^templora ", block, re.M))
    return [line for line in commands.splitlines() if line]


class Clone:
    """A folder with the files of the project, and `templora` in PATH."""

    def __init__(self, folder: Path, hub: str) -> None:
        self.folder, self._hub = folder / "clone", hub
        self.folder.mkdir()
        for name in ("tests", "examples"):
            (self.folder / name).symlink_to(ROOT / name)
        self._bin = folder / "bin"
        self._bin.mkdir()
        command = self._bin / "templora"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m templora_edge.cli "$@"\n')
        command.chmod(0o755)

    def run(self, command: str) -> "subprocess.CompletedProcess[str]":
        own = ("HF_", "LLAMA_", "MODEL_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        return subprocess.run(
            ["/bin/bash", "-c", command],
            cwd=self.folder, check=False, capture_output=True, text=True, timeout=300,
            env=kept | {
                "PATH": f"{self._bin}:{os.environ['PATH']}",
                "HF_HOME": str(self.folder.parent / "hf"),
                "MODEL_ENDPOINT": self._hub,
                "NO_PROXY": "*",
            },
        )  # fmt: skip


@pytest.mark.slow
def test_as_typed(tmp_path: Path) -> None:
    commands = first_commands()
    names = {name for command in commands for name in NAME.findall(command)}
    assert names, "no model is named"
    with serving() as hub:
        for name in names:
            repo = name.partition(":")[0]
            file = f"{repo.partition('/')[2].removesuffix('-GGUF')}-Q4_K_M.gguf"
            hub.repos[repo] = Repo({"README.md": b"# A toy", file: BUNDLED_MODEL.read_bytes()})
        check_all(commands, Clone(tmp_path, hub.url))
        assert len(hub.downloads) == len(names)


@pytest.mark.slow
def test_without_network_the_bundled_model_writes(tmp_path: Path) -> None:
    hub = HubServer()
    hub.server_close()  # nobody answers there
    clone = Clone(tmp_path, hub.url)
    named = next(command for command in first_commands() if NAME.search(command))
    result = clone.run(named)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "cannot be reached" in result.stderr
    check_all([NAME.sub("", command) for command in first_commands()], clone)


def check_all(commands: list[str], clone: Clone) -> None:
    for command in commands:
        result = clone.run(command)
        assert result.returncode == 0, result.stderr
        for out in re.findall(r" -o (\S+)", command):
            assert len((clone.folder / out).read_text().split()) > 100
