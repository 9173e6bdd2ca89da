"""Limits on memory and cores from this process's control groups, such as a container's.

Linux has two interfaces (man 7 cgroups; Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst) and
allows both at once, with each controller in one of them. A group's limit applies to all groups
below it, so every group from the process's own to the top of the mount is checked. Without /proc,
nothing is limited.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path("/")
NO_LIMIT: Final = 1 << 62
"""Limits from here on mean none: v1 writes a number near 2^63, rounded down to pages."""
V1, V2 = "cgroup", "cgroup2"  # file system types


def memory_left(root: Path = ROOT) -> int | None:
    """Bytes this process may still use, including page cache that can be dropped.

    Args:
        root: root of the file system; tests use another.

    Returns:
        None if there is no limit.
    """
    left = [limit - used for limit, used in _memory(root)]
    return max(0, min(left)) if left else None


def memory_limit(root: Path = ROOT) -> int | None:
    """Bytes this process and others of its groups may use in all.

    Args:
        root: root of the file system; tests use another.

    Returns:
        None if there is no limit.
    """
    return min((limit for limit, _ in _memory(root)), default=None)


def cores(root: Path = ROOT) -> float | None:
    """CPU time this process may use, in cores.

    Args:
        root: root of the file system; tests use another.

    Returns:
        None if there is no limit.
    """
    shares = []
    for group in _groups("cpu", root):
        quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
        if words := _read(group / "cpu.max").split():  # "max 100000", or "150000 100000"
            quota, period = _as_number(words[0]), _as_number(words[-1])
        if quota is not None and period is not None and quota > 0 and period > 0:  # -1: no limit
            shares.append(quota / period)
    return min(shares, default=None)


def _memory(root: Path) -> Iterator[tuple[int, int]]:
    """Every limit in bytes, and what is used of it apart from page cache that can be dropped."""
    for group in _groups("memory", root):
        statistics = _statistics(group / "memory.stat")
        usage = _number(group / "memory.current")
        limits = [_number(group / "memory.max"), _number(group / "memory.high")]
        cache = statistics.get("inactive_file", 0)
        if usage is None:  # v1, whose plain figures do not include the groups below
            usage = _number(group / "memory.usage_in_bytes")
            limits = [_number(group / "memory.limit_in_bytes")]
            limits.append(statistics.get("hierarchical_memory_limit"))  # of groups not mounted
            cache = statistics.get("total_inactive_file", 0)
        if usage is not None:
            yield from (
                (limit, usage - cache) for limit in limits if limit is not None and limit < NO_LIMIT
            )


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Folders of the groups that limit ``controller``, in v1 and v2, the process's own first."""
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
        # a container may see the host's path of its group; the mount is then its own group
        for mounted, below in (fitting or [(mounted, Path()) for mounted, _ in mounts])[:1]:
            for folder in (below, *below.parents):
                yield mounted / folder


def _mounts(root: Path) -> Iterator[tuple[str, str, str, list[str]]]:
    """(mounted path within the file system, mount point, type, options) of every mount."""
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
    """``text`` as a number; None for `max`, and for the empty text of a missing file."""
    return int(text) if text.lstrip("-").isdecimal() else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _unescaped(field: str) -> str:
    """A field of mountinfo with its octal escapes of spaces and the like decoded (man 5 proc)."""
    for character in " \t\n\\":
        field = field.replace(f"\\{ord(character):03o}", character)
    return field
