"""What this machine can do: where to train, in which precision, how fast at best, and what would fit into memory."""

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
    """The choices for one run, each with its reason in `reasons`, in words for the user.

    Attributes:
        device: where the tensors are.
        dtype: of the matrix products (autocast); weights are float32.
        compile: whether to use torch.compile.
        reasons: one line per choice.
        distributed: the processes of the run, of which each has such a device.
        sharded: whether each keeps its share of the model (FSDP), not a whole one.

    """

    device: torch.device
    dtype: torch.dtype
    compile: bool
    reasons: tuple[str, ...]
    distributed: DistributedContext = SINGLE_PROCESS
    sharded: bool = False

    def autocast(self) -> torch.autocast:
        """The context in which forward passes run."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


def select_device(config: TrainConfig, distributed: DistributedContext = SINGLE_PROCESS) -> Hardware:
    """Turn `auto` into choices; UsageError for a device that is not there."""
    available = {"cpu": True, "cuda": torch.cuda.is_available()}
    available["mps"] = torch.backends.mps.is_available() and distributed.world_size == 1
    name = config.device
    if name == "auto":
        name = "cuda" if available["cuda"] else "mps" if available["mps"] else "cpu"
    elif not available[name]:
        here = ", ".join(kind for kind, there in available.items() if there)
        raise UsageError(f"--device {name}: torch finds no such device here, only {here}")
    device = torch.device(name)
    if name == "cuda" and distributed.world_size > 1:
        device = _own_gpu(distributed)
    what = (
        torch.cuda.get_device_name()
        if name == "cuda"
        else f"{torch.get_num_threads()} threads"
        if name == "cpu"
        else "Apple GPU"
    )
    device_reason = f"device {name} ({what}): " + (
        "as asked" if config.device != "auto" else "the fastest that torch finds"
    )

    dtype, dtype_reason = _choose_dtype(name, config)
    if config.compile == "auto":
        compiles = name == "cuda"
        compile_reason = "it pays on CUDA" if compiles else "on a CPU it costs more than it gains at this size"
    else:
        compiles, compile_reason = config.compile == "on", "as asked"
    return Hardware(
        device,
        dtype,
        compiles,
        (device_reason, dtype_reason, f"compile {'on' if compiles else 'off'}: {compile_reason}"),
        distributed,
    )


def _own_gpu(distributed: DistributedContext) -> torch.device:
    """The GPU of this process, which torch takes from now on where none is named."""
    there = torch.cuda.device_count()
    if distributed.local_world_size > there:
        raise UsageError(
            f"{distributed.local_world_size} processes were started here, on a machine with {there} GPUs: torchrun "
            f"--nproc-per-node {there}, or --device cpu"
        )
    torch.cuda.set_device(distributed.local_rank)
    return torch.device("cuda", distributed.local_rank)


def _choose_dtype(device: str, config: TrainConfig) -> tuple[torch.dtype, str]:
    if config.dtype != "auto":
        return getattr(torch, config.dtype), f"dtype {config.dtype}: as asked"
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported()
        why = "the GPU has bfloat16" if fast else "the GPU has no bfloat16"
    elif device == "cpu":
        fast = has_bf16_cpu()
        why = "the CPU multiplies bfloat16 several times as fast" if fast else "the CPU has no fast bfloat16"
    else:
        fast, why = False, "bfloat16 is not reliable on Apple GPUs"
    return (torch.bfloat16, f"dtype bfloat16: {why}") if fast else (torch.float32, f"dtype float32: {why}")


def has_bf16_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU has bfloat16 products (AVX512-BF16, AMX, or ARM's)."""
    info = read_text(cpuinfo)
    return any(flag in info for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def measure_peak(hardware: Hardware, size: int | None = None) -> float:
    """FLOP/s of the best of some products of two matrices of `size`: the yardstick of MFU. Takes under a second."""
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
    """Whether memory ran out; torch says so in several ways, and on a CPU only in words."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = ("can't allocate memory", "not enough memory", "out of memory")  # CPU; CPU on Windows; MPS, the CUDA driver
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)
