"""What this machine can do: where to train, in which precision, how fast at best, and what would fit into memory."""

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from inkhorn.config import ModelConfig
from inkhorn.errors import TrainingError, UsageError
from inkhorn.model import writes_out_attention
from inkhorn.recipes import TrainConfig


@dataclass(frozen=True)
class Hardware:
    """The choices for one run, each with its reason in `reasons`, in words for the user.

    Attributes:
        device: where the tensors are.
        dtype: of the matrix products (autocast); weights are float32.
        compile: whether to use torch.compile.
        reasons: one line per choice.

    """

    device: torch.device
    dtype: torch.dtype
    compile: bool
    reasons: tuple[str, ...]

    def autocast(self) -> torch.autocast:
        """The context in which forward passes run."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


def choose_hardware(config: TrainConfig) -> Hardware:
    """Turn `auto` into choices; UsageError for a device that is not there."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    name = config.device
    if name == "auto":
        name = "cuda" if available["cuda"] else "mps" if available["mps"] else "cpu"
    elif not available[name]:
        here = ", ".join(kind for kind, there in available.items() if there)
        raise UsageError(f"--device {name}: torch finds no such device here, only {here}")
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
        torch.device(name),
        dtype,
        compiles,
        (device_reason, dtype_reason, f"compile {'on' if compiles else 'off'}: {compile_reason}"),
    )


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
    info = _read(cpuinfo)
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


def training_flops_per_token(config: ModelConfig) -> float:
    """FLOPs of a forward and backward pass per token (Chowdhery et al. 2022, appendix B): 6 per weight, plus attention.

    The position table is looked up, not multiplied, so it does not count; the head does, tied or not.
    """
    weights = config.num_parameters - config.block_size * config.n_embd
    if not config.tie_word_embeddings:
        weights -= config.vocab_size * config.n_embd
    return 6.0 * weights + 12.0 * config.n_layer * config.n_embd * config.block_size


def training_bytes(config: ModelConfig, batch_size: int, hardware: Hardware, *, muon: bool) -> float:
    """Rough memory of training: weights, gradients and optimizer state in float32, plus what backward needs kept.

    Kept per token and layer: about 34 * n_embd bytes in 16 bits (Korthikanti et al. 2022), and the attention's weights
    where they are stored at all; and per token the logits with their gradient in float32.
    """
    state = config.num_parameters * 4 * (3 if muon else 4)
    width = 34 * config.n_embd * (1 if hardware.dtype == torch.bfloat16 else 2)
    if writes_out_attention(hardware.device, hardware.dtype, config.block_size):
        width += config.n_head * config.block_size * (5 if config.attn_pdrop else 2)
    tokens = batch_size * config.block_size
    return float(state + tokens * (config.n_layer * width + 3 * 4 * config.vocab_size))


def free_bytes(device: torch.device, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> float:
    """Memory that training could take on `device`; infinite where it cannot be told.

    Args:
        device: where training would be.
        proc: where Linux says what the machine has.
        cgroups: where Linux says what a container may use of it.

    """
    if device.type == "cuda":  # what torch holds already is there for training too
        return float(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved())
    return min(_free_of_machine(proc), _free_of_cgroups(proc, cgroups))


def _free_of_machine(proc: Path) -> float:
    available = _table(proc / "meminfo").get("MemAvailable")  # counts the cache of files, which gives way
    if available is not None:
        return 1024.0 * available
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return math.inf


def _free_of_cgroups(proc: Path, cgroups: Path) -> float:
    """The least that a limit on this process's control group, or on one around it, leaves; infinite without limits."""
    least = math.inf
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            root, limit, used, total = cgroups, "memory.max", "memory.current", ""
        elif "memory" in controllers.split(","):
            root, limit, used, total = cgroups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"
        else:
            continue
        group = root / path.lstrip("/")
        # In a container the path may be the host's, which is not there: the container's own group is then the root.
        for folder in (group, *group.parents):
            words = (_read(folder / limit).strip(), _read(folder / used).strip())
            if folder.is_relative_to(root) and all(word.isdecimal() for word in words):  # no limit is "max"
                files = _table(folder / "memory.stat")  # the cache of files gives way here too
                cache = sum(files.get(f"{total}{kind}_file", 0) for kind in ("active", "inactive"))
                least = min(least, max(0.0, float(words[0]) - float(words[1]) + cache))
    return least


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _table(path: Path) -> dict[str, int]:
    """A file whose lines are a name and a number, as the kernel writes them; empty if there is none."""
    lines = [line.split() for line in _read(path).splitlines()]
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}


def advice_on_memory(config: ModelConfig, train: TrainConfig, hardware: Hardware) -> str:
    """What would fit: the largest batch, at most half of this one, that accumulates to just as many rows a step."""
    muon, free = train.optimizer == "muon", free_bytes(hardware.device)
    needed = training_bytes(config, train.batch_size, hardware, muon=muon)
    said = f"{train.batch_size} rows of {config.block_size} tokens need about {needed / 1e9:.1f} GB"
    if free != math.inf:
        said += f"; {free / 1e9:.1f} GB are free"
    step = train.batch_size * train.grad_accum
    for rows in range(train.batch_size // 2, 0, -1):
        if step % rows == 0 and training_bytes(config, rows, hardware, muon=muon) < 0.8 * free:
            return f"{said}. These would fit and train the same: --batch-size {rows} --grad-accum {step // rows}"
    return f"{said}. Not even one row would fit: use a smaller --block-size, --n-layer or --n-embd"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; torch says so in several ways, and on a CPU only in words."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = ("can't allocate memory", "not enough memory", "out of memory")  # CPU; CPU on Windows; MPS, the CUDA driver
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


@contextmanager
def memory_advice(config: ModelConfig, train: TrainConfig, hardware: Hardware) -> Iterator[None]:
    """Turns running out of memory inside it into a TrainingError that says what would fit."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(f"out of memory: {advice_on_memory(config, train, hardware)}") from None
