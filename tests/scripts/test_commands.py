"""The programs in scripts/: they run, and their help says how."""

import importlib
import re
import sys
from pathlib import Path

import pytest
from paths import ROOT

SCRIPTS = ROOT / "scripts"


def programs() -> list[str]:
    """Modules to run with `python -m`."""
    files = [path for path in SCRIPTS.rglob("*.py") if "\ndef main(" in path.read_text()]
    return sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files)


@pytest.mark.parametrize("module", programs())
def test_help_names_the_command(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"python -m {module.removesuffix('.__main__')} "
    program = importlib.import_module(module)
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith(f"usage: {command}")
    assert f"Usage: {command}" in (program.__doc__ or "")


def test_only_everyday_commands_are_at_the_top() -> None:
    names = {path.name for path in SCRIPTS.iterdir() if path.is_file()}
    assert names == {"__init__.py", "check", "demo", "lint", "models", "schemas", "setup", "test"}


def documents() -> list[Path]:
    return [
        ROOT / "README.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "templora_edge" / "assets").glob("*.md"),
    ]


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_documents_name_programs_that_exist(document: Path) -> None:
    named = re.findall(r"python -m (scripts(?:\.\w+)+)", document.read_text(encoding="utf-8"))
    assert set(named) <= {name.removesuffix(".__main__") for name in programs()}
