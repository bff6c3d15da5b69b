"""Choice of device, precision and compilation, available memory, and advice if memory runs out."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.models import tiny_config

from inkhorn.config.model import ModelConfig
from inkhorn.config.recipes import RECIPES
from inkhorn.config.train import TrainConfig
from inkhorn.errors import TrainingError, UsageError
from inkhorn.hardware import device as module
from inkhorn.hardware.device import Hardware, has_bf16_cpu, is_out_of_memory, measure_peak, select_device
from inkhorn.hardware.memory import free_bytes
from inkhorn.training.memory import memory_needed, oom_hint, suggest_fit

CPU = Hardware(torch.device("cpu"), torch.float32, False, ())
CONFIG = tiny_config()
CPU_ERROR = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"


# Selection


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Simulate a machine for torch."""

    def pretend(*, cuda: bool = False, mps: bool = False, bf16: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(module, "has_bf16_cpu", lambda: bf16)

    return pretend


def test_select_device_auto(machine: Callable[..., None]) -> None:
    chosen = []
    for there in ({"cuda": True, "mps": True}, {"mps": True}, {}):
        machine(**there)
        chosen.append(select_device(TrainConfig()))
    assert [h.device.type for h in chosen] == ["cuda", "mps", "cpu"]
    assert [h.compile for h in chosen] == [True, False, False]
    threads = torch.get_num_threads()
    assert [h.reasons[0] for h in chosen] == [
        "device cuda (Some GPU): fastest available",
        "device mps (Apple GPU): fastest available",
        f"device cpu ({threads} threads): fastest available",
    ]


def test_select_requested_device(machine: Callable[..., None]) -> None:
    machine(cuda=True)
    chosen = select_device(TrainConfig(device="cpu"))
    assert chosen.device.type == "cpu"
    assert chosen.reasons[0].endswith("as requested")


def test_unavailable_device(machine: Callable[..., None]) -> None:
    machine(mps=True)
    with pytest.raises(UsageError, match="--device cuda: not available here; torch finds cpu, mps"):
        select_device(TrainConfig(device="cuda"))
    machine()
    with pytest.raises(UsageError, match=r"--device mps: not available here; torch finds cpu$"):
        select_device(TrainConfig(device="mps"))


@pytest.mark.parametrize(
    ("there", "dtype", "reason"),
    [
        ({"cuda": True, "bf16": True}, torch.bfloat16, "dtype bfloat16: supported by the GPU"),
        ({"cuda": True}, torch.float32, "dtype float32: the GPU does not support bfloat16"),
        ({"bf16": True}, torch.bfloat16, "dtype bfloat16: several times as fast on this CPU"),
        ({}, torch.float32, "dtype float32: the CPU has no bfloat16 instructions"),
        ({"mps": True, "bf16": True}, torch.float32, "dtype float32: bfloat16 is unreliable on Apple GPUs"),
    ],
)
def test_dtype_auto(machine: Callable[..., None], there: Any, dtype: torch.dtype, reason: str) -> None:
    machine(**there)
    chosen = select_device(TrainConfig())
    assert (chosen.dtype, chosen.reasons[1]) == (dtype, reason)


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_requested_dtype(machine: Callable[..., None], name: Any) -> None:
    machine(bf16=name == "float32")  # against what auto would take
    chosen = select_device(TrainConfig(dtype=name))
    assert (chosen.dtype, chosen.reasons[1]) == (getattr(torch, name), f"dtype {name}: as requested")
    x = torch.ones(2, 2)
    with chosen.autocast():
        assert (x @ x).dtype == chosen.dtype


def test_compile(machine: Callable[..., None]) -> None:
    machine(cuda=True)
    assert select_device(TrainConfig()).reasons[2] == "compile on: faster on CUDA"
    assert select_device(TrainConfig(compile="off")).reasons[2] == "compile off: as requested"
    machine()
    assert select_device(TrainConfig()).reasons[2].startswith("compile off: little gain")
    on = select_device(TrainConfig(compile="on"))
    assert (on.compile, on.reasons[2]) == (True, "compile on: as requested")


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("flags\t\t: fpu sse2 avx512f avx512_bf16 clzero\n", True),
        ("flags\t\t: fpu sse2 avx512f amx_bf16 avx512_fp16 amx_tile amx_int8\n", True),
        ("Features\t: fp asimd asimdhp i8mm bf16 dgh\n", True),
        ("flags\t\t: fpu sse2 avx2 avx512f avx512_vnni\n", False),
        ("Features\t: fp asimd asimdhp fphp\n", False),
        ("", False),
    ],
)
def test_has_bf16_cpu(tmp_path: Path, text: str, has: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert has_bf16_cpu(tmp_path / "cpuinfo") is has


def test_has_bf16_cpu_without_cpuinfo(tmp_path: Path) -> None:
    assert has_bf16_cpu(tmp_path / "cpuinfo") is False


# Speed


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_measure_peak_uses_dtype(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    real, products = torch.Tensor.__matmul__, list[tuple[Any, ...]]()

    def watched(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        products.append((a.dtype, *a.shape))
        return real(a, b)

    monkeypatch.setattr(torch.Tensor, "__matmul__", watched)
    assert measure_peak(replace(CPU, dtype=dtype), size=32) > 0
    assert set(products) == {(dtype, 32, 32)}


# Memory


def training_bytes(config: ModelConfig, rows: int, hardware: Hardware, *, muon: bool) -> float:
    return sum(memory_needed(config, rows, hardware, TrainConfig(optimizer="muon" if muon else "adamw")).values())


def on_cpu(dtype: torch.dtype) -> Hardware:
    return Hardware(torch.device("cpu"), dtype, False, ())


def test_memory_needed_grows() -> None:
    def estimate(rows: int = 8, dtype: torch.dtype = torch.bfloat16, muon: bool = True) -> float:
        return training_bytes(CONFIG, rows, on_cpu(dtype), muon=muon)

    weights = 4 * CONFIG.num_parameters
    assert estimate() > 3 * weights  # weights, gradients, momentum
    assert estimate(rows=16) - estimate() == estimate(rows=24) - estimate(rows=16) > 0
    assert estimate(dtype=torch.float32) > estimate()
    matrices = 4 * CONFIG.n_layer * 12 * CONFIG.n_embd**2
    assert estimate(muon=False) == estimate() + matrices  # AdamW's second moment of what Muon has one of
    for field in ("block_size", "vocab_size", "n_layer", "n_embd"):
        larger = replace(CONFIG, **{field: 2 * getattr(CONFIG, field)})
        assert (
            training_bytes(larger, 8, Hardware(torch.device("cpu"), torch.bfloat16, False, ()), muon=True) > estimate()
        ), field


GB = 1 << 30
MEMINFO = f"MemTotal: {16 << 20} kB\nMemFree: {1 << 20} kB\nMemAvailable: {10 << 20} kB\nHugePages_Total: 0\n"


def linux(root: Path, meminfo: str = MEMINFO, group: str = "", files: dict[str, object] | None = None) -> float:
    """The result of free_bytes with these files of /proc and, below `cgroups`, of control groups."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "meminfo").write_text(meminfo)
    (root / "proc" / "self" / "cgroup").write_text(group)
    for name, content in (files or {}).items():
        path = root / "cgroups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return free_bytes(torch.device("cpu"), root / "proc", root / "cgroups")


def test_free_memory_includes_page_cache(tmp_path: Path) -> None:
    assert linux(tmp_path) == 10 * GB  # MemFree would be 1


@pytest.mark.parametrize(
    ("group", "files", "free"),
    [
        # cgroup v2: a container, in which its own group is the root, and a service.
        ("0::/\n", {"memory.max": 4 * GB, "memory.current": GB}, 3),
        ("0::/a.slice/b\n", {"a.slice/b/memory.max": 4 * GB, "a.slice/b/memory.current": GB}, 3),
        # Limits of parent groups apply; the lowest is used.
        (
            "0::/a/b\n",
            {
                "a/memory.max": 6 * GB,
                "a/memory.current": 4 * GB,
                "a/b/memory.max": 5 * GB,
                "a/b/memory.current": GB,
            },
            2,
        ),
        # The page cache counts as available.
        (
            "0::/\n",
            {
                "memory.max": 4 * GB,
                "memory.current": 3 * GB,
                "memory.stat": f"anon {GB}\ninactive_file {GB}\nactive_file {GB}",
            },
            3,
        ),
        ("0::/\n", {"memory.max": "max", "memory.current": GB}, 10),
        ("0::/\n", {"memory.max": 2 * GB, "memory.current": 3 * GB}, 0),
        ("0::/\n", {"memory.max": 64 * GB, "memory.current": GB}, 10),  # more than the machine has
        # Version 1; in Docker the path is the host's and is not there.
        (
            "5:cpu:/\n4:memory:/g\n0::/\n",
            {"memory/g/memory.limit_in_bytes": 4 * GB, "memory/g/memory.usage_in_bytes": GB},
            3,
        ),
        (
            "4:cpu,memory:/docker/1f\n",
            {
                "memory/memory.limit_in_bytes": 4 * GB,
                "memory/memory.usage_in_bytes": 2 * GB,
                "memory/memory.stat": f"inactive_file 7\ntotal_inactive_file {GB}",
            },
            3,
        ),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": 2**63 - 4096, "memory/memory.usage_in_bytes": GB}, 10),
        ("", {"memory.max": GB, "memory.current": 0}, 10),  # of a group that this process is not in
    ],
)
def test_free_memory_in_cgroup(tmp_path: Path, group: str, files: dict[str, object], free: float) -> None:
    assert linux(tmp_path, group=group, files=files) == free * GB


def test_free_memory_without_procfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"SC_AVPHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", asked.__getitem__)
    assert free_bytes(torch.device("cpu"), tmp_path, tmp_path) == 4_096_000

    def unknown(name: str) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", unknown)
    assert free_bytes(torch.device("cpu"), tmp_path, tmp_path) == float("inf")


def test_free_memory_of_this_machine() -> None:
    assert free_bytes(torch.device("cpu")) > 0


def test_free_memory_of_gpu_includes_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (3 * GB, 80 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 70 * GB)
    assert free_bytes(torch.device("cuda")) == 73 * GB


# Advice


def advised(text: str) -> tuple[int, int]:
    found = re.search(r"--batch-size (\d+) --grad-accum (\d+)$", text)
    assert found is not None, text
    return int(found[1]), int(found[2])


@pytest.mark.parametrize("grad_accum", [1, 3, 60])
def test_suggest_fit_keeps_effective_batch_size(monkeypatch: pytest.MonkeyPatch, grad_accum: int) -> None:
    def needed(rows: int) -> float:
        return training_bytes(CONFIG, rows, CPU, muon=True)

    for batch_size in range(2, 70):
        free = 1.3 * needed(max(1, batch_size // 3))
        monkeypatch.setattr("inkhorn.training.memory.free_bytes", lambda device, free=free: free)
        rows, passes = advised(suggest_fit(CONFIG, TrainConfig(batch_size=batch_size, grad_accum=grad_accum), CPU))
        assert rows * passes == batch_size * grad_accum
        assert rows <= batch_size // 2
        assert needed(rows) < 0.8 * free
        larger = [n for n in range(rows + 1, batch_size // 2 + 1) if batch_size * grad_accum % n == 0]
        assert all(needed(n) >= 0.8 * free for n in larger), f"{rows} of {batch_size} is not the largest"


def test_suggest_fit_with_unknown_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inkhorn.training.memory.free_bytes", lambda device: float("inf"))
    text = suggest_fit(CONFIG, TrainConfig(batch_size=33), CPU)
    assert advised(text) == (11, 3)
    assert "free" not in text


def test_suggest_fit_without_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inkhorn.training.memory.free_bytes", lambda device: 2e9)
    xl = RECIPES["gpt2-xl"]
    text = suggest_fit(xl.architecture.to_model_config(50_257), xl.train, CPU)
    assert re.match(r"8 rows of 1024 tokens need about \d+\.\d GB; 2\.0 GB are available\. A single row", text)


ERRORS = [
    (MemoryError(), True),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
    (RuntimeError(f"{CPU_ERROR} allocate 4000 bytes. Error code 12 (Cannot allocate memory)"), True),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), True),
    (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
    (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    (RuntimeError("expected a tensor in contiguous memory format"), False),
    (ValueError("not enough memory"), False),
    (KeyboardInterrupt(), False),
]


@pytest.mark.parametrize(("error", "out"), ERRORS)
def test_is_out_of_memory(error: BaseException, out: bool) -> None:
    assert is_out_of_memory(error) is out
    with (
        pytest.raises(TrainingError if out else type(error)) as raised,
        oom_hint(CONFIG, TrainConfig(batch_size=33), CPU),
    ):
        raise error
    if out:
        assert re.match("out of memory: 33 rows .*--batch-size 11 --grad-accum 3$", str(raised.value))
    else:
        assert raised.value is error


def test_torch_out_of_memory_error() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60)
    assert is_out_of_memory(raised.value)


def test_oom_hint_without_error() -> None:
    with oom_hint(CONFIG, TrainConfig(), CPU):
        pass
