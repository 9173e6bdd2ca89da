"""Limits on memory and cores in trees of control groups, made up and real."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from templora_edge.host import cgroup, memory
from templora_edge.host.cores import default_threads

MIB = 1 << 20
UNLIMITED_V1 = 9223372036854771712
V1_MEMORY = "31 25 0:33 {top} {at} rw,relatime shared:7 master:1 - cgroup cgroup rw,memory"
V1_CPU = "32 25 0:34 {top} {at} rw,relatime - cgroup cgroup rw,cpu,cpuacct"
V2 = "30 25 0:32 {top} {at} rw,relatime - cgroup2 cgroup2 rw,nsdelegate"
OTHERS = (
    "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard",
    "23 22 0:21 / /proc rw,relatime - proc proc rw",
    "24 22 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755",
)


def tree(root: Path, groups: str, mounts: list[str], files: Mapping[str, object]) -> Path:
    """A file system with the process's groups, its mounts, and the groups' files."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "cgroup").write_text(groups)
    lines = "\n".join([*OTHERS, *mounts])
    (root / "proc" / "self" / "mountinfo").write_text(f"{lines}\n")
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def v2(
    group: str, limit: object, usage: int, cache: int = 0, cpu: str = "max 100000"
) -> dict[str, object]:
    return {
        f"{group}/memory.max": limit,
        f"{group}/memory.current": usage,
        f"{group}/memory.stat": f"anon {usage - cache}\ninactive_file {cache}\nactive_file 7",
        f"{group}/cpu.max": cpu,
    }


def v1(group: str, limit: object, usage: int, cache: int = 0) -> dict[str, object]:
    return {
        f"{group}/memory.limit_in_bytes": limit,
        f"{group}/memory.usage_in_bytes": usage,
        f"{group}/memory.stat": f"inactive_file 5\nhierarchical_memory_limit {UNLIMITED_V1}\n"
        f"total_inactive_file {cache}",
    }


def test_a_container_in_v2(tmp_path: Path) -> None:
    """Usual with Docker and Kubernetes: a separate namespace, in which its group is the root."""
    files = v2("sys/fs/cgroup", 1000 * MIB, 400 * MIB, 100 * MIB, "150000 100000")
    tree(tmp_path, "0::/\n", [V2.format(top="/", at="/sys/fs/cgroup")], files)
    assert cgroup.memory_left(tmp_path) == 700 * MIB
    assert cgroup.memory_limit(tmp_path) == 1000 * MIB
    assert cgroup.cores(tmp_path) == 1.5


def test_every_group_above_counts(tmp_path: Path) -> None:
    top, slice_, own = (f"sys/fs/cgroup{path}" for path in ("", "/a.slice", "/a.slice/b.scope"))
    files = {
        **v2(own, "max", 100 * MIB),
        **v2(slice_, 500 * MIB, 450 * MIB, 20 * MIB, "50000 100000"),
        **v2(f"{top}/other.slice", 1, 1, 0, "1000 100000"),  # not ours
        f"{own}/cpu.max": "300000 100000",
    }
    mounts = [V2.format(top="/", at="/sys/fs/cgroup")]
    tree(tmp_path, "0::/a.slice/b.scope\n", mounts, files)
    assert cgroup.memory_left(tmp_path) == 70 * MIB
    assert cgroup.memory_limit(tmp_path) == 500 * MIB
    assert cgroup.cores(tmp_path) == 0.5
    (tmp_path / own / "memory.high").write_text(f"{130 * MIB}\n")
    assert cgroup.memory_left(tmp_path) == 30 * MIB
    (tmp_path / own / "memory.max").write_text(f"{90 * MIB}\n")  # lowered below what is used
    assert cgroup.memory_left(tmp_path) == 0


@pytest.mark.parametrize(
    ("top", "path"),
    [
        ("/docker/abc", "/docker/abc"),  # no namespace, its own group mounted
        ("/", "/"),  # a namespace
        ("/", "/docker/abc"),  # the host's path is shown, and not mounted
        ("/docker/abc", "/"),  # a namespace, mounted from outside
        ("/docker/abc", "/docker/other"),
        ("/", "/../abc"),  # moved out of its namespace
    ],
)
def test_a_container_in_v1(top: str, path: str, tmp_path: Path) -> None:
    groups = f"5:cpu,cpuacct:{path}\n4:memory:{path}\n1:name=systemd:{path}\n"
    mounts = [
        V1_MEMORY.format(top=top, at="/sys/fs/cgroup/memory"),
        V1_CPU.format(top=top, at="/sys/fs/cgroup/cpu,cpuacct"),
    ]
    files = {
        **v1("sys/fs/cgroup/memory", 1000 * MIB, 400 * MIB, 100 * MIB),
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": 250000,
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": 100000,
    }
    tree(tmp_path, groups, mounts, files)
    assert cgroup.memory_left(tmp_path) == 700 * MIB
    assert cgroup.cores(tmp_path) == 2.5


def test_a_limit_above_what_is_mounted_in_v1(tmp_path: Path) -> None:
    files = v1("sys/fs/cgroup/memory", UNLIMITED_V1, 400 * MIB, 100 * MIB)
    files["sys/fs/cgroup/memory/memory.stat"] = (
        f"hierarchical_memory_limit {800 * MIB}\ntotal_inactive_file 0"
    )
    mounts = [V1_MEMORY.format(top="/docker/abc", at="/sys/fs/cgroup/memory")]
    tree(tmp_path, "4:memory:/docker/abc\n", mounts, files)
    assert cgroup.memory_left(tmp_path) == 400 * MIB


def test_both_interfaces_at_once(tmp_path: Path) -> None:
    """systemd's hybrid: controllers in v1, v2 for bookkeeping; paths with spaces and colons."""
    groups = "9:memory:/a b:c\n0::/user.slice\n"
    mounts = [
        V1_MEMORY.format(top="/", at="/sys/fs/cgroup/my\\040memory"),
        V2.format(top="/", at="/sys/fs/cgroup/unified"),
        V2.format(top="/elsewhere", at="/mnt/cgroup"),
    ]
    files = {
        **v1("sys/fs/cgroup/my memory/a b:c", 300 * MIB, 100 * MIB),
        **v1("sys/fs/cgroup/my memory", UNLIMITED_V1, 900 * MIB),
        "sys/fs/cgroup/unified/user.slice/cpu.max": "200000 100000",
        "mnt/cgroup/cpu.max": "10000 100000",  # another group, mounted elsewhere
    }
    tree(tmp_path, groups, mounts, files)
    assert cgroup.memory_left(tmp_path) == 200 * MIB
    assert cgroup.cores(tmp_path) == 2


def test_no_limit(tmp_path: Path) -> None:
    assert cgroup.memory_left(tmp_path / "no proc") is None
    assert cgroup.cores(tmp_path / "no proc") is None
    mounts = [
        V2.format(top="/", at="/sys/fs/cgroup/unified"),
        V1_MEMORY.format(top="/", at="/sys/fs/cgroup/memory"),
        V1_CPU.format(top="/", at="/sys/fs/cgroup/cpu"),
    ]
    files = {
        **v2("sys/fs/cgroup/unified", "max", 400 * MIB),
        **v1("sys/fs/cgroup/memory", UNLIMITED_V1, 400 * MIB),
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": -1,
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": 100000,
    }
    tree(tmp_path, "5:cpu,cpuacct:/\n4:memory:/\n0::/\n", mounts, files)
    assert cgroup.memory_left(tmp_path) is None
    assert cgroup.memory_limit(tmp_path) is None
    assert cgroup.cores(tmp_path) is None


@pytest.mark.parametrize(
    ("share", "threads"), [(0.4, 1), (1.0, 1), (1.9, 1), (1000.0, None), (None, None)]
)
def test_threads_are_whole_cores(
    share: float | None, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = default_threads()
    monkeypatch.setattr(cgroup, "cores", lambda: share)
    assert default_threads() == (threads or plain)


IN_GROUP = """
import sys
for group in sys.argv[1:]:
    with open(group + "/cgroup.procs", "w") as procs:
        procs.write("0")
from templora_edge.host import cgroup
from templora_edge.host import memory
from templora_edge.host.cores import default_threads
before = memory.available()
ballast = bytearray(b"x") * (64 << 20)
print(before, memory.available(), default_threads(), cgroup.cores())
"""


@pytest.fixture
def limited_groups() -> Iterator[set[Path]]:
    """Real groups, one in v2 or two in v1, with 300 MiB and half a core."""
    limits: dict[str, dict[str, object]] = {
        "memory": {"memory.max": 300 * MIB, "memory.limit_in_bytes": 300 * MIB},
        "cpu": {"cpu.max": "50000 100000", "cpu.cfs_quota_us": 50000},
    }
    groups: set[Path] = set()
    with ExitStack() as stack:
        for controller, files in limits.items():
            mounts = {
                kind: Path(mounted, f"templora-test-{os.getpid()}")
                for _, mounted, kind, options in cgroup._mounts(cgroup.ROOT)
                if kind == cgroup.V2 or (kind == cgroup.V1 and controller in options)
            }
            group = mounts.get(cgroup.V1, mounts.get(cgroup.V2))
            try:
                if group is None:
                    pytest.skip("no control groups are mounted")
                if group not in groups:
                    group.mkdir()
                    stack.callback(group.rmdir)
                    groups.add(group)
                [name] = [name for name in files if (group / name).exists()]
                (group / name).write_text(str(files[name]))
            except (OSError, ValueError) as error:
                pytest.skip(f"needs the right to make control groups ({error})")
        yield groups


def test_a_real_group(limited_groups: set[Path]) -> None:
    command = [sys.executable, "-c", IN_GROUP, *map(str, limited_groups)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    before, after, threads, cores = map(float, result.stdout.split())
    assert psutil.virtual_memory().available > 400 * MIB
    assert after < before < 300 * MIB
    assert before - after == pytest.approx(64 * MIB, rel=0.2)
    assert (threads, cores) == (1, 0.5)
    assert memory.available() > 300 * MIB  # outside the group
