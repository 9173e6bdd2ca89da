"""Number of cores this process may use."""

import psutil

from templora_edge.host import cgroup


def default_threads() -> int:
    """Number of physical cores this process may use; more threads make ggml very slow.

    Respects CPU affinity and a container's limit on CPU time.
    """
    process = psutil.Process()
    allowed = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else 0
    physical = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    return max(1, min(physical, allowed or physical, int(cgroup.cores() or physical)))
