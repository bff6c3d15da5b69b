"""The device, the precision and compilation of a run, and the peak speed of the device."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from inkhorn.config.train import TrainConfig
from inkhorn.errors import UsageError
from inkhorn.hardware.distributed import SINGLE_PROCESS, DistributedContext
from inkhorn.hardware.memory import read_text


@dataclass(frozen=True)
class Hardware:
    """Where and how a run computes."""

    device: torch.device  # the device of this process
    dtype: torch.dtype  # the autocast precision of matrix products; weights are float32
    compile: bool  # whether to use torch.compile
    reasons: tuple[str, ...]  # a line for the user per choice, as "choice: reason"
    distributed: DistributedContext = SINGLE_PROCESS  # this process and its process group
    sharded: bool = False  # whether the model is sharded over the processes (FSDP)

    def autocast(self) -> torch.autocast:
        """The context in which forward passes run."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


def select_device(config: TrainConfig, distributed: DistributedContext = SINGLE_PROCESS) -> Hardware:
    """Resolve `auto` for device, dtype and compile; UsageError if the device is not available."""
    available = {"cpu": True, "cuda": torch.cuda.is_available()}
    available["mps"] = torch.backends.mps.is_available() and distributed.world_size == 1
    name = config.device
    if name == "auto":
        name = "cuda" if available["cuda"] else "mps" if available["mps"] else "cpu"
    elif not available[name]:
        here = ", ".join(kind for kind, found in available.items() if found)
        raise UsageError(f"--device {name}: not available here; torch finds {here}")
    device = torch.device(name)
    if name == "cuda" and distributed.world_size > 1:
        device = _local_gpu(distributed)
    what = f"{torch.get_num_threads()} threads" if name == "cpu" else "Apple GPU"
    if name == "cuda":
        what = torch.cuda.get_device_name()
    device_reason = f"device {name} ({what}): " + ("as requested" if config.device != "auto" else "fastest available")

    dtype, dtype_reason = _choose_dtype(name, config)
    if config.compile == "auto":
        compiles = name == "cuda"
        compile_reason = "faster on CUDA" if compiles else "little gain for small models without CUDA"
    else:
        compiles, compile_reason = config.compile == "on", "as requested"
    reasons = (device_reason, dtype_reason, f"compile {'on' if compiles else 'off'}: {compile_reason}")
    return Hardware(device, dtype, compiles, reasons, distributed)


def _local_gpu(distributed: DistributedContext) -> torch.device:
    """The GPU of this process, which becomes torch's default."""
    count = torch.cuda.device_count()
    if distributed.local_world_size > count:
        raise UsageError(
            f"torchrun started {distributed.local_world_size} processes on a machine with {count} GPUs: use "
            f"--nproc-per-node {count}, or --device cpu"
        )
    torch.cuda.set_device(distributed.local_rank)
    return torch.device("cuda", distributed.local_rank)


def _choose_dtype(device: str, config: TrainConfig) -> tuple[torch.dtype, str]:
    if config.dtype != "auto":
        return getattr(torch, config.dtype), f"dtype {config.dtype}: as requested"
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported()
        why = "supported by the GPU" if fast else "the GPU does not support bfloat16"
    elif device == "cpu":
        fast = has_bf16_cpu()
        why = "several times as fast on this CPU" if fast else "the CPU has no bfloat16 instructions"
    else:
        fast, why = False, "bfloat16 is unreliable on Apple GPUs"
    return (torch.bfloat16, f"dtype bfloat16: {why}") if fast else (torch.float32, f"dtype float32: {why}")


def has_bf16_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU has bfloat16 dot products (AVX512-BF16, AMX, or Arm BF16)."""
    info = read_text(cpuinfo)
    return any(flag in info for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def measure_peak(hardware: Hardware, size: int | None = None) -> float:
    """FLOP/s of the fastest of six matrix products of `size` x `size`, the reference for MFU. Takes under a second."""
    size = size or (8192 if hardware.device.type == "cuda" else 1536)
    a = torch.randn(size, size, device=hardware.device, dtype=hardware.dtype)
    best = float("inf")
    for _ in range(6):
        _synchronize(hardware.device)
        start = time.perf_counter()
        a @ a
        _synchronize(hardware.device)
        best = min(best, time.perf_counter() - start)
    return float(2 * size**3 / best)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means out of memory; for CPUs torch raises a RuntimeError that differs only in its message."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = ("can't allocate memory", "not enough memory", "out of memory")  # CPU; CPU on Windows; MPS, the CUDA driver
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)
