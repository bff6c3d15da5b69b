"""What this machine can do: where to train, in which precision, how fast at best, and what would fit into memory."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from inkhorn.config import ModelConfig
from inkhorn.distributed import ALONE, Ranks
from inkhorn.errors import TrainingError, UsageError
from inkhorn.estimate import matrix_weights, training_memory
from inkhorn.free_memory import free_bytes, read_text
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
        ranks: the processes of the run, of which each has such a device.
        sharded: whether each keeps its share of the model (FSDP), not a whole one.

    """

    device: torch.device
    dtype: torch.dtype
    compile: bool
    reasons: tuple[str, ...]
    ranks: Ranks = ALONE
    sharded: bool = False

    def autocast(self) -> torch.autocast:
        """The context in which forward passes run."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


def choose_hardware(config: TrainConfig, ranks: Ranks = ALONE) -> Hardware:
    """Turn `auto` into choices; UsageError for a device that is not there."""
    available = {"cpu": True, "cuda": torch.cuda.is_available()}
    available["mps"] = torch.backends.mps.is_available() and ranks.count == 1
    name = config.device
    if name == "auto":
        name = "cuda" if available["cuda"] else "mps" if available["mps"] else "cpu"
    elif not available[name]:
        here = ", ".join(kind for kind, there in available.items() if there)
        raise UsageError(f"--device {name}: torch finds no such device here, only {here}")
    device = torch.device(name)
    if name == "cuda" and ranks.count > 1:
        device = _own_gpu(ranks)
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
        ranks,
    )


def _own_gpu(ranks: Ranks) -> torch.device:
    """The GPU of this process, which torch takes from now on where none is named."""
    there = torch.cuda.device_count()
    if ranks.local_count > there:
        raise UsageError(
            f"{ranks.local_count} processes were started here, on a machine with {there} GPUs: torchrun "
            f"--nproc-per-node {there}, or --device cpu"
        )
    torch.cuda.set_device(ranks.local)
    return torch.device("cuda", ranks.local)


def choose_parallel(config: ModelConfig, train: TrainConfig, hardware: Hardware) -> Hardware:
    """How several processes share a run: the hardware with that choice, and the reasons of it.

    UsageError if they cannot share out the rows of a step.
    """
    ranks = hardware.ranks
    if ranks.count == 1:
        said = ("parallel off: fsdp was asked for, but there is one process",) if train.parallel == "fsdp" else ()
        return replace(hardware, reasons=hardware.reasons + said)
    rows, passes = ranks.share(train.batch_size, train.grad_accum)
    shares = f"processes {ranks.count}: each takes {rows * passes} rows of a step, {rows} at a time"
    kind, why = train.parallel, "as asked"
    if kind == "auto":
        fits = sum(memory_needed(config, rows, hardware, train).values()) < 0.8 * free_here(hardware)
        kind = "fsdp" if ranks.any(not fits) and not train.lora_rank else "ddp"
        why = "a whole model would hardly fit into the memory of each" if kind == "fsdp" else "it fits"
    what = "each keeps its share of the model" if kind == "fsdp" else "each has the whole model"
    reasons = (*hardware.reasons, shares, f"parallel {kind} ({what}): {why}")
    return replace(hardware, sharded=kind == "fsdp", reasons=reasons)


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


def training_flops_per_token(config: ModelConfig) -> float:
    """FLOPs of a forward and backward pass per token (Chowdhery et al. 2022, appendix B): 6 per weight, plus attention.

    The position table is looked up, not multiplied, so it does not count; the head does, tied or not.
    """
    weights = config.num_parameters - config.block_size * config.n_embd
    if not config.tie_word_embeddings:
        weights -= config.vocab_size * config.n_embd
    return 6.0 * weights + 12.0 * config.n_layer * config.n_embd * config.block_size


def memory_needed(config: ModelConfig, rows: int, hardware: Hardware, train: TrainConfig) -> dict[str, float]:
    """Bytes that training takes in each process with `rows` in a pass, by what they are for: `estimate.training_memory`
    with what adapters spare, and what sharding does.

    Activations are what lies beside the rest at the worst moment. After a pass that can be Muon's work, which was
    measured, and in a sharded run the whole model, to evaluate and save it. Sharded, a process has its part of all that
    belongs to weights, and whole what is in no block, and two blocks at a time.
    """
    stores = writes_out_attention(hardware.device, hardware.dtype, config.block_size)
    plain = replace(train, batch_size=rows, optimizer="adamw" if train.lora_rank else train.optimizer)
    bf16 = hardware.dtype == torch.bfloat16
    found = {
        name.partition(",")[0]: float(size)
        for name, size in training_memory(config, plain, bf16=bf16, stores_attention=stores).items()
    }
    c, inner, matrices = config.n_embd, config.inner, matrix_weights(config)
    kept = found.pop("kept for the backward pass") + found.pop("logits and their gradient")
    work = matrices * (14.0 if bf16 else 20.0) if plain.optimizer == "muon" else 0.0
    if train.lora_rank:
        width = {"c_attn": 4 * c, "c_proj": 2 * c + inner + c, "c_fc": inner + c}  # of what is learnt, at rank 1
        learnt = train.lora_rank * config.n_layer * sum(width[name] for name in train.lora_targets)
        found |= {"gradients": 4.0 * learnt, "optimizer": 8.0 * learnt}
    if hardware.sharded:
        for name in found.keys() & {"weights", "gradients", "optimizer", "running average"}:
            found[name] /= hardware.ranks.count
        outside = config.num_parameters - matrices
        found["gathered weights and gradients"] = 2 * 4.0 * (outside + 2 * matrices / config.n_layer)
        work = max(work, 4.0 * config.num_parameters)
    return found | {"activations": max(kept, work)}


def free_here(hardware: Hardware) -> float:
    """Memory that this process could take where it trains: of a CPU's, those of one machine have equal parts."""
    share = hardware.ranks.local_count if hardware.device.type == "cpu" else 1
    return free_bytes(hardware.device) / share


def advice_on_memory(config: ModelConfig, train: TrainConfig, hardware: Hardware) -> str:
    """What would fit: the largest batch, at most half of this one, that accumulates to just as many rows a step."""
    free, own = free_here(hardware), train.batch_size * train.grad_accum // hardware.ranks.count
    now, _ = hardware.ranks.share(train.batch_size, train.grad_accum)
    needed = sum(memory_needed(config, now, hardware, train).values())
    said = f"{now} rows of {config.block_size} tokens need about {needed / 1e9:.1f} GB"
    if free != math.inf:
        said += f"; {free / 1e9:.1f} GB are free"
    step = train.batch_size * train.grad_accum
    for rows in range(now // 2, 0, -1):
        if own % rows == 0 and sum(memory_needed(config, rows, hardware, train).values()) < 0.8 * free:
            return f"{said}. These would fit and train the same: --batch-size {rows} --grad-accum {step // rows}"
    fsdp = " --parallel fsdp, or" if hardware.ranks.count > 1 and not hardware.sharded else ""
    return f"{said}. Not even one row would fit: use{fsdp} a smaller --block-size, --n-layer or --n-embd"


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
