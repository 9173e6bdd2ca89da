"""The project layout: import contracts, lazy loading, and the installed package."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from paths import ROOT

from templora_edge.documents import read_document
from templora_edge.extras import EXTRAS

LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


def copy_of_the_source(folder: Path) -> Path:
    for name in ("templora_edge", "converters"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.gguf")
        )
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINT_IMPORTS, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(folder / "converters")},
    )


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("templora_edge/engine/sampler.py", "import torch", "engine never reaches torch"),
        (
            "templora_edge/training/trainer.py",
            "import llama_cpp",
            "training never reaches llama_cpp",
        ),
        ("templora_edge/loop.py", "import torch", "what both sides share"),
        ("templora_edge/loop.py", "import templora_edge.engine", "what both sides share"),
        ("templora_edge/session.py", "import rich", "only cli imports typer"),
        ("templora_edge/training/client.py", "import lxml", "the core never reaches a library of"),
        ("templora_edge/options/options.py", "import templora_edge.loop", "Data flows down"),
        ("templora_edge/models/gguf_file.py", "import templora_edge.models.rope", "no cycle"),
        ("templora_edge/session.py", "import huggingface_hub", "only models.hub talks"),
    ],
)
def test_contracts_are_enforced(module: str, line: str, contract: str, tmp_path: Path) -> None:
    folder = copy_of_the_source(tmp_path)
    path = folder / module
    path.write_text(path.read_text() + f"\n{line}\n")
    result = lint_imports(folder)
    assert result.returncode == 1
    assert [row for row in result.stdout.splitlines() if contract in row and "BROKEN" in row]


def test_contracts_hold(tmp_path: Path) -> None:
    result = lint_imports(copy_of_the_source(tmp_path))
    assert result.returncode == 0, result.stdout


def modules_after(statement: str) -> set[str]:
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return set(output.stdout.decode().split())


HEAVY = {"torch", "transformers", "peft", "llama_cpp", "gguf", "numpy", "jinja2", "langcodes"}
HEAVY |= {"huggingface_hub", "httpx2"}
HEAVY |= {module for modules in EXTRAS.values() for module in modules}


@pytest.mark.parametrize("statement", ["import templora_edge.cli.app", "import templora_edge"])
def test_importing_loads_no_heavy_library(statement: str) -> None:
    assert not modules_after(statement) & HEAVY


HELP_OF_ALL = """
import io
from contextlib import redirect_stdout
import typer
from templora_edge.cli.app import app
def show(command, name):
    with redirect_stdout(io.StringIO()) as text:
        command.main(["--help"], prog_name=name, standalone_mode=False)
    assert text.getvalue().startswith("Usage: " + name), name
    shown.add(name)
    for inner in getattr(command, "commands", {}).values():
        show(inner, f"{name} {inner.name}")
shown = set()
show(typer.main.get_command(app), "templora")
assert {"templora translate", "templora evaluate", "templora convert base"} <= shown
"""


def test_help_loads_no_heavy_library() -> None:
    assert not modules_after(HELP_OF_ALL) & HEAVY


def cpu_seconds(*arguments: str) -> float:
    """The fastest of three runs, so that load on the machine does not count."""
    seconds = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        after = os.times()
        seconds.append(sum(after[2:4]) - sum(before[2:4]))
    return min(seconds)


def test_help_is_there_at_once() -> None:
    """It takes little longer than its own libraries; torch alone takes ten times as long."""
    assert cpu_seconds("-m", "templora_edge.cli", "--help") < 3 * cpu_seconds(
        "-c", "import typer, rich.console"
    )


def test_the_parents_half_of_the_sidecar_loads_no_torch() -> None:
    assert "torch" not in modules_after("import templora_edge.session")


def test_the_wheel_holds_the_model_and_the_converters(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {path for path in names if path.endswith(".gguf")}
    assert {"templora_converters/peft_to_gguf.py", "templora_edge/py.typed"} <= names
    assert not any(name.startswith(("tests", "scripts")) for name in names)


def test_the_sample_book_is_the_sample_text(tmp_path: Path) -> None:
    out = tmp_path / "phare.epub"
    command = [sys.executable, "-m", "scripts.profiling.epub", "examples/phare.txt", str(out)]
    subprocess.run(command, check=True, cwd=ROOT)
    with zipfile.ZipFile(out) as made, zipfile.ZipFile(ROOT / "examples" / "phare.epub") as kept:
        assert made.namelist() == kept.namelist()
        assert all(made.read(name) == kept.read(name) for name in made.namelist())
    text, book = (read_document(path).paragraphs for path in (ROOT / "examples/phare.txt", out))
    assert set(text) == set(book)


@pytest.mark.slow
def test_examples_run() -> None:
    for example in sorted((ROOT / "examples").glob("*.py")):
        result = subprocess.run(
            [sys.executable, example], capture_output=True, text=True, check=False, timeout=300
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.strip()
