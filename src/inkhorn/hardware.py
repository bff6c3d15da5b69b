"""What this machine can do: where to train, in which precision, how fast at best, and what would fit into memory."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from inkhorn.config import ModelConfig
from inkhorn.errors import UsageError
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


def has_bf16_cpu() -> bool:
    """Whether the CPU has bfloat16 products (AVX512-BF16, AMX, or ARM's)."""
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
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


def training_bytes(config: ModelConfig, batch_size: int, dtype: torch.dtype, *, muon: bool) -> float:
    """Rough memory of training: weights, gradients and optimizer state in float32, plus what backward needs kept.

    Kept per token and layer: about 34 * n_embd bytes in 16 bits (Korthikanti et al. 2022, without the attention matrix,
    which the fused kernel never stores); and per token the logits with their gradient in float32.
    """
    state = config.num_parameters * 4 * (3 if muon else 4)
    width = 34 * config.n_embd * (1 if dtype == torch.bfloat16 else 2)
    tokens = batch_size * config.block_size
    return float(state + tokens * (config.n_layer * width + 3 * 4 * config.vocab_size))


def free_bytes(device: torch.device) -> float:
    """Memory that training could take on `device`; infinite where it cannot be told."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info()[0])
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return float("inf")


def advice_on_memory(config: ModelConfig, train: TrainConfig, hardware: Hardware) -> str:
    """What would fit: the largest halved batch whose estimate does, with accumulation that keeps the step's tokens."""
    muon, free = train.optimizer == "muon", free_bytes(hardware.device)
    needed = training_bytes(config, train.batch_size, hardware.dtype, muon=muon)
    said = f"{train.batch_size} rows of {config.block_size} tokens need about {needed / 1e9:.1f} GB"
    if free != float("inf"):
        said += f"; {free / 1e9:.1f} GB are free"
    rows, passes = train.batch_size, train.grad_accum
    while rows > 1:
        rows, passes = rows // 2, passes * 2
        if training_bytes(config, rows, hardware.dtype, muon=muon) < 0.8 * free:
            return f"{said}. These would fit and train the same: --batch-size {rows} --grad-accum {passes}"
    return f"{said}. Not even one row would fit: use a smaller --block-size, --n-layer or --n-embd"
