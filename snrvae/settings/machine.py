"""The cores and memory that this process may use: not all of the machine's in a container or by `ulimit -v`.

Linux keeps the limits of a container or a batch job as files of a control group (cgroup), in version 1 or 2.
A limit of a group holds for all groups in it.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

ROOT = Path("/")
LOADED = 1.1e9  # bytes of addresses that a stage takes for its libraries
THREAD = 136 * 2**20  # bytes of addresses that Linux reserves for a thread: its stack and 128 MiB


class Free(NamedTuple):
    """Bytes that a process may still take, and the limit that decides this; "" for the machine's memory."""

    size: float
    limit: str = ""


def cores(root: Path = ROOT) -> int:
    """Cores that a stage works on: OMP_NUM_THREADS, or as many as this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else cpu_quota(root) or _affinity()


def cpu_quota(root: Path = ROOT) -> int | None:
    """Cores whose time the control groups grant this process; None if they do not limit it."""
    quotas = []
    for group in _groups(root, "cpu"):
        v1 = [*_words(group / "cpu.cfs_quota_us"), *_words(group / "cpu.cfs_period_us")]
        match _words(group / "cpu.max") or v1:
            case [quota, period] if quota not in ("max", "-1"):
                quotas.append(math.ceil(int(quota) / int(period)))
    return min((quota for quota in quotas if quota < _affinity()), default=None)


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory(threads: int, root: Path = ROOT) -> Free:
    """The least memory that the machine, control groups and `ulimit -v` leave to so many threads."""
    found = [Free(psutil.virtual_memory().available), Free(_addresses(threads), "ulimit -v")]
    return min(*found, *(Free(size, "the container's limit") for size in _memory(root)))


def _addresses(threads: int) -> float:
    process = psutil.Process()
    limit = process.rlimit(psutil.RLIMIT_AS)[0] if hasattr(psutil, "RLIMIT_AS") else -1
    if limit == psutil.RLIM_INFINITY:
        return math.inf
    return max(0, limit - max(process.memory_info().vms, LOADED) - threads * THREAD)


def _memory(root: Path) -> Iterator[float]:
    """Bytes that each group's limit leaves; cached files count as free, since Linux drops them if need be."""
    for group in _groups(root, "memory"):
        v2, v1 = _words(group / "memory.max"), _words(group / "memory.limit_in_bytes")
        used = _words(group / "memory.current") or _words(group / "memory.usage_in_bytes")
        if used and (limit := v2 or v1) != ["max"]:
            words, total = _words(group / "memory.stat"), "" if v2 else "total_"
            stat = dict(zip(words[::2], words[1::2], strict=False))
            cached = sum(int(stat.get(f"{total}{name}", 0)) for name in ("inactive_file", "active_file"))
            yield max(0, int(limit[0]) - int(used[0]) + cached)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's control group and of that group's parents, for a controller.

    Inside a container, the topmost folder may be that of the container's own group.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if not controllers or controller in controllers.split(","):  # version 2 names none
            top = root / "sys/fs/cgroup" / (controller if controllers else "")
            group = Path(path.lstrip("/"))
            yield from (top / part for part in (group, *group.parents))


def _words(file: Path) -> list[str]:
    """The words of a file; none if it does not exist."""
    try:
        return file.read_text().split()
    except OSError:
        return []
