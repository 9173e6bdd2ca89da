"""Files are written completely or not at all, and never over files that must be kept."""

import errno
import gzip
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from disks import disk
from typer.testing import CliRunner

from templora_edge.cli.app import app
from templora_edge.errors import OptionError, OutputError
from templora_edge.host.files import check_outputs, check_writable, replacing


def write(path: Path, text: str) -> None:
    with replacing(path, "--out") as temporary:
        temporary.write_text(text)


def test_mode_and_owner_of_what_is_replaced_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for mode in (0o600, 0o640, 0o444, 0o777):
        path.touch()
        path.chmod(mode)
        if os.geteuid() == 0:
            os.chown(path, 1234, 5678)
        before = path.stat()
        write(path, f"{mode}")
        after = path.stat()
        assert path.read_text() == f"{mode}"
        assert after.st_ino != before.st_ino
        assert stat.S_IMODE(after.st_mode) == mode
        assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)


def test_a_new_file_has_the_mode_that_the_user_wants_of_new_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "new.json", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.json").stat().st_mode) == 0o640


def test_the_file_is_on_disk_before_it_has_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / "report.json", list[tuple[str, str]]()
    path.write_text("old")
    real = os.fsync

    def fsync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        synced.append((kind, path.read_text()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write(path, "new")
    assert synced == [("file", "old"), ("folder", "new")]


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 100 kB."""
    with disk(tmp_path / "disk", "100k") as mounted:
        if not mounted:
            pytest.skip("needs the right to mount a file system")
        yield tmp_path / "disk"


def test_a_full_disk_is_named_and_loses_nothing(full_disk: Path) -> None:
    path = full_disk / "report.json"
    path.write_text("old")
    big = np.zeros(1 << 20, np.uint8)
    with pytest.raises(OutputError, match=rf"--out: {path} cannot be written \(No space left"):
        write(path, "x" * (1 << 20))
    with (
        pytest.raises(OutputError, match=rf"--out: {path} cannot be written \(\d+ requested"),
        replacing(path, "--out") as temporary,
        temporary.open("wb") as file,
    ):
        big.tofile(file)  # as gguf writes tensors
    assert [(file.name, file.read_text()) for file in full_disk.iterdir()] == [(path.name, "old")]


def test_errors_of_other_files_are_not_blamed_on_the_output(
    tmp_path: Path, full_disk: Path
) -> None:
    path, big = tmp_path / "report.json", tmp_path / "big"
    path.write_text("old")
    big.write_bytes(bytes(1 << 20))
    with pytest.raises(FileNotFoundError), replacing(path, "--out"):
        (tmp_path / "missing").read_text()
    with pytest.raises(IsADirectoryError), replacing(path, "--out"):
        tmp_path.read_text()
    with pytest.raises(gzip.BadGzipFile), replacing(path, "--out"), gzip.open(big) as file:
        file.read()
    with pytest.raises(ConnectionResetError), replacing(path, "--out"):
        raise ConnectionResetError(errno.ECONNRESET, "reset by peer")
    with pytest.raises(OSError, match="No space left") as error, replacing(path, "--out"):
        shutil.copyfile(big, full_disk / "copy")
    assert not isinstance(error.value, OutputError)
    with (
        pytest.raises(OutputError, match=rf"--out: {path} cannot be written \(No such file"),
        replacing(path, "--out") as temporary,
    ):
        temporary.unlink()  # of the output itself
    assert path.read_text() == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["big", "disk", "report.json"]


def test_devices_are_written_as_they_are() -> None:
    write(Path(os.devnull), "x")
    assert Path(os.devnull).is_char_device()
    with pytest.raises(OutputError, match="/dev/full cannot be written"):
        write(Path("/dev/full"), "x")


STREAMS = """
import sys
from pathlib import Path
from templora_edge.host.files import check_outputs, replacing
path = Path(sys.argv[1])
check_outputs([("--report", path)], [])
print("text", flush=True)
with replacing(path, "--report") as temporary:
    temporary.write_text("report\\n")
print("more")
"""


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "link"])
def test_stdout_by_its_name_gets_the_result_where_it_stands(name: str, tmp_path: Path) -> None:
    """In a pipe, in a file, and at the end of one: existing content is not lost."""
    link = tmp_path / "link"
    link.symlink_to("/dev/stdout")
    command = [sys.executable, "-c", STREAMS, str(link) if name == "link" else name]
    piped = subprocess.run(command, capture_output=True, check=True, text=True)
    assert piped.stdout == "text\nreport\nmore\n"
    path = tmp_path / "all.txt"
    for mode, before in (("w", ""), ("a", piped.stdout)):
        with path.open(mode) as file:
            subprocess.run(command, stdout=file, check=True)
        assert path.read_text() == before + piped.stdout
    assert link.is_symlink()


def test_stdin_is_no_output() -> None:
    command = [sys.executable, "-c", STREAMS, "/dev/stdin"]
    result = subprocess.run(command, input="", capture_output=True, check=False, text=True)
    assert "/dev/stdin is open for reading only" in result.stderr.splitlines()[-1]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path, "is a directory"),
        (tmp_path / "none" / "file", "create it first"),
        (Path("/proc/file"), "cannot be written"),
        (Path("/dev/fd/987"), "cannot be written"),
    ):
        with pytest.raises(OutputError, match=words):
            check_writable(path, "--out")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    check_writable(tmp_path / "loop", "--out")


def test_an_output_that_is_an_input_is_refused_however_it_is_named(tmp_path: Path) -> None:
    source, link, hard = tmp_path / "in.txt", tmp_path / "link", tmp_path / "hard.txt"
    source.write_text("precious")
    link.symlink_to(tmp_path)
    hard.hardlink_to(source)
    for out in (source, link / "in.txt", hard, tmp_path / "link" / ".." / tmp_path.name / "in.txt"):
        with pytest.raises(OptionError) as error:
            check_outputs([("--out", out)], [("--in", source)], force=True)
        assert str(error.value) == f"--out {out}: is the same file as --in {source}; " + (
            "give another name"
        )
    for one, other in ((tmp_path / "new", link / "new"), (source, hard)):
        with pytest.raises(OptionError, match=r"--two .* is the same file as --one"):
            check_outputs([("--one", one), ("--two", other)], [], force=True)
    check_outputs([("--out", None), ("--two", tmp_path / "new")], [("--in", None)])
    null = Path(os.devnull)
    check_outputs([("--one", null), ("--two", null)], [("--in", null)])
    assert source.read_text() == "precious"


def test_a_folder_stands_for_its_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "old.gguf").write_text("x")
    for name, refused in (("config.json", True), ("old.gguf", False), ("new.gguf", False)):
        outputs, inputs = [("OUT.gguf", tmp_path / name)], [("HF_DIR", tmp_path)]
        if refused:
            with pytest.raises(OptionError, match=rf"OUT\.gguf .*{name}: is the same .* HF_DIR"):
                check_outputs(outputs, inputs, force=True)
        else:
            check_outputs(outputs, inputs, force=True)


def test_a_file_that_exists_is_overwritten_with_force_alone(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    check_outputs([("--report", path)], [])
    path.write_text("")
    with pytest.raises(OutputError, match=rf"--report {path}: exists; .*--force"):
        check_outputs([("--report", path)], [])
    check_outputs([("--report", path)], [], force=True)
    check_outputs([("--report", path)], [], own=[path])


LORA = ["convert", "lora", "peft"]
TRANSLATE = ["translate", "text.txt", "-sl", "fr", "-tl", "en"]
REFUSED = {
    "prompt": (["generate", "-f", "text.txt", "--report", "text.txt"], "--report", "-f"),
    "model": (["generate", "-p", "x", "-m", "m.gguf", "--report", "m.gguf"], "--report", "-m"),
    "kept adapter": (
        ["generate", "-p", "x", "--adapter-in", "a.gguf", "--adapter-out", "hard.gguf"],
        "--adapter-out",
        "--adapter-in",
    ),
    "one output": (
        ["generate", "-p", "x", "--report", "new", "--adapter-out", "folder/../new"],
        "--report",
        "--adapter-out",
    ),
    "scored text": (["perplexity", "a.svg", "b.svg", "--plot", "b.svg"], "--plot", "FILE"),
    "tested model": (["passkey", "-m", "b.svg", "--plot", "b.svg"], "--plot", "-m"),
    "adapter": ([*LORA, "peft/adapter_model.safetensors"], "OUT.gguf", "PEFT_DIR"),
    "base": ([*LORA, "m.gguf", "-m", "m.gguf"], "OUT.gguf", "-m"),
    "named base": ([*LORA, "m.gguf"], "OUT.gguf", "-m"),
    "checkpoint": (["convert", "base", "peft", "peft/weights"], "OUT.gguf", "HF_DIR"),
    "document": ([*TRANSLATE, "-o", "text.txt"], "-o", "IN"),
    "bilingual": ([*TRANSLATE, "-o", "o.txt", "--bilingual", "text.txt"], "--bilingual", "IN"),
    "two outputs": ([*TRANSLATE, "-o", "o.txt", "--report", "./o.txt"], "--report", "-o"),
    "job": ([*TRANSLATE, "-o", "o.txt", "--report", "o.txt.job"], "--report", "the job"),
    "glossary": (
        [*TRANSLATE, "-o", "o.txt", "--glossary", "a.svg", "--report", "a.svg"],
        "--report",
        "--glossary",
    ),
    "references": (
        [*TRANSLATE, "-o", "o.txt", "--references", "a.svg", "--report", "a.svg"],
        "--report",
        "--references",
    ),
    "template": (
        [*TRANSLATE, "-o", "o.txt", "--prompt-template", "a.svg", "--report", "a.svg"],
        "--report",
        "--prompt-template",
    ),
    "fixed adapter": (
        ["generate", "-p", "x", "--lora", "a.gguf:0.5", "--adapter-out", "hard.gguf"],
        "--adapter-out",
        "--lora",
    ),
    "another part of the model": (
        [
            "generate",
            "-m",
            "s-00001-of-00002.gguf",
            "-p",
            "x",
            "--adapter-out",
            "s-00002-of-00002.gguf",
        ],
        "--adapter-out",
        "-m",
    ),
    "earlier adapter": (
        [*TRANSLATE, "-o", "o.txt", "--adapter-in", "a.gguf", "--adapter-out", "a.gguf"],
        "--adapter-out",
        "--adapter-in",
    ),
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file of every kind."""
    for folder in ("folder", "peft"):
        (tmp_path / folder).mkdir()
    parts = [f"s-0000{number}-of-00002.gguf" for number in (1, 2)]
    for name in ("text.txt", "m.gguf", "a.gguf", "a.svg", "b.svg", "peft/weights", *parts):
        (tmp_path / name).write_text(f"precious {name}")
    (tmp_path / "hard.gguf").hardlink_to(tmp_path / "a.gguf")
    (tmp_path / "peft" / "adapter_model.safetensors").write_text("precious weights")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "m.gguf"}
    (tmp_path / "peft" / "adapter_config.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("case", REFUSED)
def test_no_command_overwrites_what_it_reads_or_writes(case: str, force: bool, files: Path) -> None:
    arguments, *flags = REFUSED[case]
    before = contents(files)
    result = CliRunner().invoke(app, [*arguments, *(["--force"] if force else [])])
    assert isinstance(result.exception, OptionError)
    for flag in flags:
        assert f"{flag} " in str(result.exception)
    assert contents(files) == before


def test_stdin_is_an_input_too(files: Path) -> None:
    with (files / "text.txt").open() as file:
        result = subprocess.run(
            [sys.executable, "-m", "templora_edge.cli", "generate", "--report", "text.txt",
             "--force"],
            stdin=file, capture_output=True, check=False, text=True,
        )  # fmt: skip
    assert result.returncode == 1
    assert "--report text.txt: is the same file as -f /dev/stdin" in result.stderr
    assert (files / "text.txt").read_text() == "precious text.txt"


EXISTING = {
    "report": ["generate", "-p", "x", "--report", "a.svg"],
    "kept": ["generate", "-p", "x", "--adapter-out", "a.svg"],
    "curve": ["perplexity", "text.txt", "--plot", "a.svg"],
    "grid": ["passkey", "--plot", "a.svg"],
    "adapter": [*LORA, "a.svg"],
    "base": ["convert", "base", "peft", "a.svg"],
    "document": [*TRANSLATE, "-o", "o.txt"],
    "bilingual": [*TRANSLATE, "-o", "new.txt", "--bilingual", "a.svg"],
    "job's report": [*TRANSLATE, "-o", "new.txt", "--report", "a.svg"],
    "job's adapter": [*TRANSLATE, "-o", "new.txt", "--adapter-out", "a.svg"],
}


@pytest.mark.parametrize("case", EXISTING)
def test_no_command_overwrites_a_file_unasked(case: str, files: Path) -> None:
    (files / "o.txt").write_text("precious")
    before = contents(files)
    result = CliRunner().invoke(app, EXISTING[case])
    assert isinstance(result.exception, OutputError)
    assert "exists; give another name, or overwrite it with --force" in str(result.exception)
    assert contents(files) == before
