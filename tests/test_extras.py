"""The required dependencies suffice for the core, and a missing extra is named in the error.

The environment of these tests holds links to the packages that an installation without extras gets,
and to nothing else.
"""

import os
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import distribution, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from paths import ROOT

from templora_edge.errors import MissingExtraError
from templora_edge.extras import EXTRAS, needs_extra

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

IMPORT_ALL = """
import pkgutil, importlib, templora_edge, templora_converters
for package in (templora_edge, templora_converters):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            print(module.name, error.name)
"""


def with_dependencies(requirements: list[str]) -> set[str]:
    """Names of the distributions that pip would install for ``requirements``."""
    wanted = [Requirement(line) for line in requirements]
    done: set[tuple[str, str]] = set()
    while wanted:
        requirement = wanted.pop()
        for extra in {"", *requirement.extras}:
            if (requirement.name, extra) not in done:
                done.add((requirement.name, extra))
                needed = map(Requirement, requires(requirement.name) or [])
                wanted += [r for r in needed if not r.marker or r.marker.evaluate({"extra": extra})]
    return {name for name, _ in done}


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment without extras."""
    folder = tmp_path_factory.mktemp("core")
    venv.create(folder, symlinks=True)
    [site] = folder.glob("lib/python*/site-packages")
    links = {"templora_edge": ROOT, "templora_converters": ROOT / "converters"}
    for name in with_dependencies(PROJECT["dependencies"]):
        found = distribution(name)
        for file in found.files or []:
            if file.parts[0] not in ("..", "__pycache__"):
                links[file.parts[0]] = Path(str(found.locate_file("")))
    for name, place in links.items():
        (site / name).symlink_to(place / name)
    return folder / "bin" / "python"


def run_core(core: Path, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [core, *map(str, arguments)],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_core_imports_without_extras(core: Path, tmp_path: Path) -> None:
    result = run_core(core, "-c", IMPORT_ALL, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    failed = dict(line.split() for line in result.stdout.splitlines())
    missing = {name.partition(".")[0] for name in failed.values()}
    assert missing <= {module for modules in EXTRAS.values() for module in modules}
    exchange = ("inline", "tmx", "xliff", "xml_tree")
    alone = {
        "templora_edge.translation.glossary.tbx",
        "templora_edge.evaluation.translation_scores",
        "templora_edge.shelf.cluster",
        *(f"templora_edge.translation.exchange.{name}" for name in exchange),
    }
    assert failed.keys() >= alone
    assert all(name in alone or name.startswith("templora_edge.documents.") for name in failed)


def test_plain_text_is_translated_without_extras(core: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Le marin regarde la mer.\n\nIl pleut sur le port.\n")
    (tmp_path / "terms.csv").write_text("marin,sailor\n")
    result = run_core(
        *(core, "-m", "templora_edge.cli", "translate", "notes.txt", "-o", "out.txt"),
        *("-sl", "fr", "-tl", "en", "--glossary", "terms.csv", "--block", "4"),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert "2 of 2 segments" in result.stderr
    assert len((tmp_path / "out.txt").read_text().split("\n\n")) == 2


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "translate book.epub -o out.epub -sl fr -tl en",
            "book.epub: needs the documents extra (lxml is not installed): "
            "pip install 'templora-edge[documents]'",
        ),
        (
            "translate letter.docx -o out.docx -sl fr -tl en",
            "letter.docx: needs the documents extra (docx is not installed): "
            "pip install 'templora-edge[documents]'",
        ),
        (
            "translate notes.txt -o out.txt -sl fr -tl en --glossary terms.tbx",
            "--glossary terms.tbx: needs the documents extra (lxml is not installed): "
            "pip install 'templora-edge[documents]'",
        ),
        (
            "translate notes.txt -o out.txt -sl fr -tl en --memory old.tmx",
            "--memory old.tmx: needs the documents extra (lxml is not installed): "
            "pip install 'templora-edge[documents]'",
        ),
        (
            "evaluate notes.txt notes.txt",
            "evaluate: needs the evaluate extra (sacrebleu is not installed): "
            "pip install 'templora-edge[evaluate]'",
        ),
        (
            "perplexity notes.txt --plot out.svg",
            "--plot out.svg: needs the plot extra (matplotlib is not installed): "
            "pip install 'templora-edge[plot]'",
        ),
        (
            "shelf notes.txt -O out -sl fr -tl en --scheduler tcp://127.0.0.1:9",
            "--scheduler tcp://127.0.0.1:9: needs the cluster extra (dask is not installed): "
            "pip install 'templora-edge[cluster]'",
        ),
    ],
)
def test_a_missing_extra_is_named(core: Path, command: str, message: str, tmp_path: Path) -> None:
    for name in ("book.epub", "letter.docx", "notes.txt", "terms.tbx", "old.tmx"):
        (tmp_path / name).write_text("Il pleut.\n")
    result = run_core(core, "-m", "templora_edge.cli", *command.split(), cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"templora: {message}\n"


def test_other_failures_of_an_import_are_not_taken_for_a_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), needs_extra("plot", "--plot"):
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401
    with pytest.raises(ImportError, match="no_such_name"), needs_extra("plot", "--plot"):
        from matplotlib import no_such_name  # type: ignore[attr-defined]  # noqa: F401


def test_a_part_of_a_missing_package_is_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lxml.etree", None)
    with (
        pytest.raises(MissingExtraError, match=r"^a\.epub: needs"),
        needs_extra("documents", "a.epub"),
    ):
        from lxml.etree import parse  # noqa: F401


def test_the_modules_of_each_extra_are_those_of_its_packages() -> None:
    extras = {k: v for k, v in PROJECT["optional-dependencies"].items() if k not in ("all", "dev")}
    assert extras.keys() == EXTRAS.keys()
    assert PROJECT["optional-dependencies"]["all"] == [f"templora-edge[{','.join(extras)}]"]
    providers = packages_distributions()
    for extra, modules in EXTRAS.items():
        packages = {canonicalize_name(Requirement(line).name) for line in extras[extra]}
        assert packages == {canonicalize_name(providers[module][0]) for module in modules}
