"""What the control groups of this process leave it: a container's limits of memory and cores.

Linux has two interfaces (man 7 cgroups; Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst) and
allows both at once, each controller in one of them. A group's limit counts for all groups below it,
so every group from the process's own to the top of what is mounted is looked at. Where there is no
/proc, nothing is limited.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path("/")
NO_LIMIT: Final = 1 << 62
"""v1 writes a number near 2^63, rounded down to pages, where memory is not limited."""
V1, V2 = "cgroup", "cgroup2"  # types of file systems


def memory_left(root: Path = ROOT) -> int | None:
    """Bytes this process may still use, page cache that can be dropped included; None: no limit.

    Args:
        root: of the file system, another one in tests.
    """
    left = []
    for group in _groups("memory", root):
        statistics = _statistics(group / "memory.stat")
        usage = _number(group / "memory.current")
        limits = [_number(group / "memory.max"), _number(group / "memory.high")]
        cache = statistics.get("inactive_file", 0)
        if usage is None:  # v1, whose plain figures leave out the groups below
            usage = _number(group / "memory.usage_in_bytes")
            limits = [_number(group / "memory.limit_in_bytes")]
            limits.append(statistics.get("hierarchical_memory_limit"))  # of groups out of sight
            cache = statistics.get("total_inactive_file", 0)
        if usage is not None:
            left += [
                limit - usage + cache for limit in limits if limit is not None and limit < NO_LIMIT
            ]
    return max(0, min(left)) if left else None


def cores(root: Path = ROOT) -> float | None:
    """Cores' worth of time this process may use; None: no limit.

    Args:
        root: of the file system, another one in tests.
    """
    shares = []
    for group in _groups("cpu", root):
        quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
        if words := _read(group / "cpu.max").split():  # "max 100000", or "150000 100000"
            quota, period = _as_number(words[0]), _as_number(words[-1])
        if quota is not None and period is not None and quota > 0 and period > 0:  # v1: -1 is none
            shares.append(quota / period)
    return min(shares, default=None)


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Folders of the process's groups that limit ``controller``, its own first, in v1 and v2."""
    paths: dict[str, str] = {}
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            paths[V2] = path
        elif controller in controllers.split(","):
            paths[V1] = path
    for kind, path in paths.items():
        mounts = [
            (root / mount_point.lstrip("/"), Path(top))
            for top, mount_point, found, options in _mounts(root)
            if found == kind and (kind == V2 or controller in options)
        ]
        fitting = [
            (mounted, Path(path).relative_to(top))
            for mounted, top in mounts
            if Path(path).is_relative_to(top) and ".." not in path
        ]
        # a container may be shown the host's path of its group: what is mounted is its own then
        for mounted, below in (fitting or [(mounted, Path()) for mounted, _ in mounts])[:1]:
            for folder in (below, *below.parents):
                yield mounted / folder


def _mounts(root: Path) -> Iterator[tuple[str, str, str, list[str]]]:
    """(what of its file system is mounted, where, type, options) of every mount."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        mount, _, source = line.partition(" - ")
        top, mount_point = map(_unescaped, mount.split(" ")[3:5])
        kind, _, options = source.split(" ", 2)
        yield top, mount_point, kind, options.split(",")


def _statistics(path: Path) -> dict[str, int]:
    lines = (line.split() for line in _read(path).splitlines())
    return {name: int(value) for name, value in lines}


def _number(path: Path) -> int | None:
    return _as_number(_read(path).strip())


def _as_number(text: str) -> int | None:
    """None for `max`, and for a file that is not there."""
    return int(text) if text.lstrip("-").isdecimal() else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _unescaped(field: str) -> str:
    """A field of mountinfo, which writes spaces and the like as octal numbers (man 5 proc)."""
    for character in " \t\n\\":
        field = field.replace(f"\\{ord(character):03o}", character)
    return field
