"""CPU cores: affinity, hyper-threads and quotas."""

from pathlib import Path

import pytest

from inkhorn.utils import cpu
from inkhorn.utils.cpu import affinity_cpus, available_cores, cpu_quota, physical_cores


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_available_cores() -> None:
    assert 1 <= available_cores() <= len(affinity_cpus())


def test_hyper_threads_count_once(tmp_path: Path) -> None:
    for number, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        write(tmp_path / f"devices/system/cpu/cpu{number}/topology/thread_siblings_list", f"{siblings}\n")
    assert physical_cores({0, 1, 2, 3}, tmp_path) == 2
    assert physical_cores({0, 2}, tmp_path) == 1
    assert physical_cores({0, 1}, tmp_path) == 2


def test_cores_of_unknown_topology(tmp_path: Path) -> None:
    assert physical_cores({0, 1, 5}, tmp_path) == 3


@pytest.mark.parametrize(("text", "quota"), [("150000 100000", 1.5), ("50000 100000", 0.5), ("max 100000", None)])
def test_quota_version_2(tmp_path: Path, text: str, quota: float | None) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/\n")
    write(tmp_path / "sys/fs/cgroup/cpu.max", text)
    assert cpu_quota(tmp_path) == quota


def test_quota_of_parent_group(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/user.slice/app.scope\n")
    write(tmp_path / "sys/fs/cgroup/user.slice/app.scope/cpu.max", "max 100000")
    write(tmp_path / "sys/fs/cgroup/user.slice/cpu.max", "200000 100000")
    assert cpu_quota(tmp_path) == 2.0


@pytest.mark.parametrize(("microseconds", "quota"), [("250000", 2.5), ("-1", None)])
def test_quota_version_1_of_host_path(tmp_path: Path, microseconds: str, quota: float | None) -> None:
    write(tmp_path / "proc/self/cgroup", "5:memory:/\n4:cpu,cpuacct:/docker/0123abcd\n")
    write(tmp_path / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", microseconds)
    write(tmp_path / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000")
    assert cpu_quota(tmp_path) == quota


def test_no_control_groups(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None


@pytest.mark.parametrize(("quota", "cores"), [(None, 8), (0.5, 1), (1.5, 1), (3.0, 3), (64.0, 8)])
def test_quota_is_rounded_down(monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int) -> None:
    monkeypatch.setattr(cpu, "physical_cores", lambda _: 8)
    monkeypatch.setattr(cpu, "cpu_quota", lambda: quota)
    assert available_cores() == cores
