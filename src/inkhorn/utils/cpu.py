"""The CPU cores that this process may use."""

import os
from pathlib import Path


def affinity_cpus() -> set[int]:
    """Return the numbers of the logical CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def available_cores() -> int:
    """Return how many threads can compute at full speed, at least 1.

    The hyper-threads of a core count once, because they share its arithmetic units. A CPU quota (of a container) is
    rounded down: with 1.5 CPUs a second thread would be stopped for part of each period, and the first would wait.
    """
    cores = physical_cores(affinity_cpus())
    quota = cpu_quota()
    return max(1, cores if quota is None else min(cores, int(quota)))


def physical_cores(cpus: set[int], sys: Path = Path("/sys")) -> int:
    """Count the physical cores of logical CPUs; where the system does not say, each counts as a core."""
    cores = set()
    for cpu in cpus:
        path = sys / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        cores.add(path.read_text().strip() if path.exists() else str(cpu))
    return len(cores)


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the CPU quota of this process's control group and its parents, in CPUs; None: there is no limit."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Version 2 has no controllers here. In a container the group's path may be that of the host, which is not
        # visible: then only the root of the mount is there.
        mount = root / "sys/fs/cgroup" / controllers
        path = Path(name.lstrip("/"))
        quotas += [_quota(mount / parent) for parent in (path, *path.parents)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(group: Path) -> float | None:
    """Read the quota of one control group, version 2 (cpu.max) or 1 (cpu.cfs_quota_us and cpu.cfs_period_us)."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    except (OSError, ValueError):
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)
