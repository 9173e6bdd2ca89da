"""Temporary storage: its location, and that only leftovers of killed runs are swept."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from command import SMALL, run
from disks import disk
from paths import ROOT

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.errors import OutputError
from templora_edge.host import workspace
from templora_edge.host.workspace import MARK, MARK_TARGET, PREFIX, Workspace, default_root
from templora_edge.models.footprint import adapter_file_bytes
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import SamplingOptions, Targets
from templora_edge.session import TempLora

DIES = """
import os, signal, sys
from pathlib import Path
from templora_edge.host.workspace import Workspace

STEPS = {"os.mkdir", "open", "fcntl.flock", "os.symlink", "os.listdir", "os.scandir",
         "shutil.rmtree", "os.remove", "os.rmdir"}

def die_at(moment):
    count = 0
    def hook(event, _):
        nonlocal count
        if event in STEPS:
            count += 1
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def work(root):
    with Workspace(root) as workspace:
        (workspace.path / "adapter-0.gguf").write_bytes(b"weights")
        (workspace.path / "caches").mkdir()
        (workspace.path / "caches" / "file").write_bytes(b"kernel")

moment, killed = 0, True
while killed:
    moment += 1
    root = Path(sys.argv[1], str(moment))
    root.mkdir()
    child = os.fork()
    if child == 0:
        die_at(moment)
        work(root)
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
"""
"""Program that kills a run before its first step on files, another before its second, and so on."""


def test_killed_at_every_step_its_folder_goes_with_the_next_run(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=True, timeout=60)
    roots = list(tmp_path.iterdir())
    left = [root for root in roots if list(root.iterdir())]
    marked = [root for root in left if any((path / MARK).is_symlink() for path in root.iterdir())]
    assert len(marked) > 5
    assert len(left) > len(marked), "none died between the folder and its mark: an empty test"
    for root in roots:
        with Workspace(root) as workspace:
            assert list(root.iterdir()) == [workspace.path]
        assert not list(root.iterdir())


def test_living_runs_are_left_alone_by_those_that_begin(tmp_path: Path) -> None:
    def work(number: int) -> None:
        for _ in range(40):
            with Workspace(tmp_path) as workspace:
                (workspace.path / "mine").write_text(str(number))
                os.sched_yield()
                assert (workspace.path / "mine").read_text() == str(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert not list(tmp_path.iterdir())


def killed_run(root: Path, name: str = "abcd_123") -> Path:
    """What a killed run leaves."""
    folder = root / f"{PREFIX}{name}"
    folder.mkdir(mode=0o700)
    (folder / MARK).symlink_to(MARK_TARGET)
    (folder / "adapter-3.gguf").write_bytes(b"weights")
    return folder


def tree(folder: Path) -> list[tuple[str, bytes | None]]:
    return sorted(
        (str(path.relative_to(folder)), path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
    )


def test_what_is_not_of_a_killed_run_survives(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    notes = tmp_path / "templora-notes"
    notes.mkdir()
    (notes / "chapter-1.txt").write_text("It was a dark night.")
    shutil.copytree(ROOT / "tests", tmp_path / "templora-edge" / "tests")
    (tmp_path / "templora-empty").mkdir()
    (tmp_path / "templora-file").write_text("It was a dark night.")
    (tmp_path / "templora-1234abcd").mkdir(mode=0o700)  # named as ours, but with something in it
    (tmp_path / "templora-1234abcd" / "letter.txt").write_text("Dear")
    (tmp_path / "templora-marked").mkdir()
    (tmp_path / "templora-marked" / MARK).write_text(MARK_TARGET)  # a file, and no link
    (tmp_path / "templora-linked").mkdir()
    (tmp_path / "templora-linked" / MARK).symlink_to("elsewhere")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (tmp_path / "templora-link").symlink_to(killed_run(elsewhere))
    before, linked = tree(tmp_path), tree(elsewhere)
    dead = killed_run(tmp_path)
    with Workspace(tmp_path) as workspace:
        assert not dead.exists()
        assert (workspace.path / MARK).is_symlink()
    assert tree(tmp_path) == before
    assert tree(elsewhere) == linked


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to give files away")
def test_the_folder_of_another_user_survives(tmp_path: Path) -> None:
    theirs, ours = killed_run(tmp_path, "theirs__"), killed_run(tmp_path, "ours____")
    for path in (theirs, *theirs.iterdir()):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    with Workspace(tmp_path):
        assert not ours.exists()
    assert [path.name for path in theirs.glob("*.gguf")] == ["adapter-3.gguf"]


def test_a_run_leaves_nothing_and_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "templora-notes").mkdir()
    (tmp_path / "templora-notes" / "chapter-1.txt").write_text("It was a dark night.")
    before = tree(tmp_path)
    killed_run(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    result = run("generate", "-p", "It was", *SMALL, "--rank", 4)
    assert result.returncode == 0, result.stderr
    assert "block 3 of 3" in result.stderr
    assert tree(tmp_path) == before


def test_where_no_folder_can_be_made(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"No such file.*TMPDIR"):
        Workspace(tmp_path / "missing")


Storage = Callable[[str, int], Path]


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """Makes storage of some MiB; if mounting is not permitted, a folder with that size faked."""
    real, sizes = shutil.disk_usage, dict[Path, int]()

    def disk_usage(path: Path) -> object:
        return shutil._ntuple_diskusage(n, 0, n) if (n := sizes.get(path)) else real(path)

    with ExitStack() as stack:

        def make(name: str, n_mib: int) -> Path:
            folder = tmp_path / name
            if not stack.enter_context(disk(folder, f"{n_mib}m")):
                sizes[folder] = n_mib << 20
                monkeypatch.setattr(shutil, "disk_usage", disk_usage)
            return folder

        yield make


@pytest.fixture
def no_tmpdir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR")


@pytest.mark.usefixtures("no_tmpdir")
def test_storage_in_memory_is_taken_where_there_is_room(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory, on_disk = storage("shm", 1), storage("tmp", 3)
    monkeypatch.setattr(workspace, "MEMORY_BACKED", in_memory)
    monkeypatch.setattr(tempfile, "tempdir", str(on_disk))
    assert default_root() == default_root(1 << 19) == in_memory
    assert default_root(2 << 20) == on_disk
    with pytest.raises(OutputError) as error:
        default_root(4 << 20)
    for words in ("4.0 MiB (1.0 MiB free in", f"{in_memory}, 3.0 MiB free in {on_disk})", "TMPDIR"):
        assert words in str(error.value)
    dead = killed_run(in_memory)
    with Workspace(needed=2 << 20) as made:
        assert made.path.parent == on_disk
        assert not dead.exists()
    monkeypatch.setattr(workspace, "MEMORY_BACKED", in_memory / "none")
    assert default_root() == on_disk


@pytest.mark.usefixtures("no_tmpdir")
def test_where_no_temporary_folder_is_writable(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a read-only container only /dev/shm may be writable."""

    def gettempdir() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    in_memory = storage("shm", 1)
    monkeypatch.setattr(tempfile, "gettempdir", gettempdir)
    monkeypatch.setattr(workspace, "MEMORY_BACKED", in_memory)
    assert default_root(1 << 19) == in_memory
    monkeypatch.setattr(workspace, "MEMORY_BACKED", in_memory / "none")
    with pytest.raises(OutputError, match=r"no temporary folder is writable.*TMPDIR"):
        Workspace()


def test_tmpdir_wins_and_is_looked_at_too(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = storage("small", 1)
    monkeypatch.setenv("TMPDIR", str(small))
    assert default_root(1 << 19) == small
    with pytest.raises(OutputError, match=rf"2\.0 MiB \(1\.0 MiB free in {small}\); set TMPDIR"):
        Workspace(needed=2 << 20)
    monkeypatch.setenv("TMPDIR", str(small / "none"))
    with pytest.raises(OutputError, match=f"{small}/none: No such file"):
        Workspace(needed=2 << 20)


@pytest.mark.usefixtures("no_tmpdir")
def test_a_session_asks_for_the_room_that_it_takes(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory, on_disk = storage("shm", 1), storage("tmp", 40)
    monkeypatch.setattr(workspace, "MEMORY_BACKED", in_memory)
    monkeypatch.setattr(tempfile, "tempdir", str(on_disk))
    with TempLora(n_ctx=128, block_len=16, n_threads=1, own_learning_rate=5e-5) as text:
        sampling = SamplingOptions(seed=1, ignore_eos=True)
        list(text.generate("It was", n_predict=40, sampling=sampling))
        assert text.blocks[1].swap_s > 0
        assert len(list(on_disk.glob(f"{PREFIX}*"))) == 1
        assert not list(in_memory.iterdir())
    assert not list(on_disk.iterdir())


@pytest.mark.parametrize(("targets", "layers"), [(Targets.ALL, None), (Targets.MLP, 2)])
def test_the_room_is_that_of_the_file(targets: Targets, layers: int | None, tmp_path: Path) -> None:
    with TempLora(n_ctx=128, block_len=16, rank=32, targets=targets, layers=layers) as text:
        text.absorb("It was a dark night, and the rain fell.")
        text.save_adapter(tmp_path / "adapter.gguf")
        lora = text.options.lora
    size = (tmp_path / "adapter.gguf").stat().st_size
    room = adapter_file_bytes(GgufFile(BUNDLED_MODEL), lora)
    assert size <= room <= size + (1 << 20)


def test_storage_that_fills_up_later_names_the_place_and_the_remedy(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = storage("small", 12)
    monkeypatch.setenv("TMPDIR", str(small))
    if not os.path.ismount(small):
        pytest.skip("needs the right to mount a file system")
    with TempLora(n_ctx=128, block_len=16, n_threads=1) as text:
        (small / "filler").write_bytes(bytes(shutil.disk_usage(small).free - 100_000))
        with pytest.raises(OutputError) as error:
            text.absorb("It was a dark night, and the rain fell.")
    message = str(error.value)
    assert message.startswith(f"{small}/{PREFIX}")
    for words in (
        "no adapter can be written there (",
        "set TMPDIR",
        f"MiB free in {small})",
        "--rank",
    ):
        assert words in message
