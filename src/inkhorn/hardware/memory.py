"""Available memory of a GPU or of the machine, within the limits of its control groups (containers)."""

import math
import os
from pathlib import Path

import torch


def free_bytes(device: torch.device, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes available on `device`; infinite if unknown.

    Args:
        device: the device to train on.
        proc: the mount point of procfs.
        cgroups: the mount point of the cgroup file system.
    """
    if device.type == "cuda":  # memory that torch has reserved can be reused
        return float(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved())
    return min(_free_of_machine(proc), _free_of_cgroups(proc, cgroups))


def _free_of_machine(proc: Path) -> float:
    available = _table(proc / "meminfo").get("MemAvailable")  # includes the page cache, which is reclaimable
    if available is not None:
        return 1024.0 * available
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return math.inf


def _free_of_cgroups(proc: Path, cgroups: Path) -> float:
    """The least memory left by the limits of this process's control group and its parents; infinite without limits."""
    least = math.inf
    for line in read_text(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            root, limit, used, total = cgroups, "memory.max", "memory.current", ""
        elif "memory" in controllers.split(","):
            root, limit, used, total = cgroups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"
        else:
            continue
        group = root / path.lstrip("/")
        # In a container the path may be the host's and missing here: the container's own group is then the root.
        for folder in (group, *group.parents):
            words = (read_text(folder / limit).strip(), read_text(folder / used).strip())
            if folder.is_relative_to(root) and all(word.isdecimal() for word in words):  # no limit is "max"
                files = _table(folder / "memory.stat")  # the page cache is reclaimable here too
                cache = sum(files.get(f"{total}{kind}_file", 0) for kind in ("active", "inactive"))
                least = min(least, max(0.0, float(words[0]) - float(words[1]) + cache))
    return least


def _table(path: Path) -> dict[str, int]:
    """A kernel file of "name number" lines; empty if it is missing."""
    lines = [line.split() for line in read_text(path).splitlines()]
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}


def read_text(path: Path) -> str:
    """A kernel file; empty if it is missing or not readable."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
