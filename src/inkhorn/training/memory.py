"""The memory that training needs, and advice if there is too little."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from inkhorn.config.model import ModelConfig
from inkhorn.config.train import TrainConfig
from inkhorn.costs.model import matrix_weights, training_memory
from inkhorn.errors import TrainingError
from inkhorn.hardware.device import Hardware, is_out_of_memory
from inkhorn.hardware.memory import free_bytes
from inkhorn.model import uses_explicit_attention


def memory_needed(config: ModelConfig, rows: int, hardware: Hardware, train: TrainConfig) -> dict[str, float]:
    """Bytes per process that training needs with micro-batches of `rows`, by use.

    Extends `costs.model.training_memory` by LoRA and sharding. "activations" is the peak of all temporary memory: that
    of the forward pass, of Muon's update (measured), or of the full model that a sharded run gathers to evaluate and
    save. A sharded process holds its part of weights, gradients and optimizer state, and gathers the parameters outside
    the blocks and two blocks at a time.
    """
    stores = uses_explicit_attention(hardware.device, hardware.dtype, config.block_size)
    unadapted = replace(train, batch_size=rows, optimizer="adamw" if train.lora_rank else train.optimizer)
    bf16 = hardware.dtype == torch.bfloat16
    found = {
        name.partition(",")[0]: float(size)
        for name, size in training_memory(config, unadapted, bf16=bf16, stores_attention=stores).items()
    }
    matrices = matrix_weights(config)
    kept = found.pop("kept for the backward pass") + found.pop("logits and their gradient")
    work = matrices * (14.0 if bf16 else 20.0) if unadapted.optimizer == "muon" else 0.0
    if train.lora_rank:
        adapted = (spec for spec in config.tensor_specs() if spec.is_linear and spec.layer in train.lora_targets)
        trained = train.lora_rank * sum(sum(spec.shape) for spec in adapted)  # A is (rank, in), B is (out, rank)
        found |= {"gradients": 4.0 * trained, "optimizer": 8.0 * trained}
    if hardware.sharded:
        for name in found.keys() & {"weights", "gradients", "optimizer", "weight average"}:
            found[name] /= hardware.distributed.world_size
        outside = config.num_parameters - matrices
        found["gathered weights and gradients"] = 2 * 4.0 * (outside + 2 * matrices / config.n_layer)
        work = max(work, 4.0 * config.num_parameters)
    return found | {"activations": max(kept, work)}


def available_memory(hardware: Hardware) -> float:
    """Bytes that this process can use on its device; the processes of a machine share the CPU's memory equally."""
    share = hardware.distributed.local_world_size if hardware.device.type == "cpu" else 1
    return free_bytes(hardware.device) / share


def suggest_fit(config: ModelConfig, train: TrainConfig, hardware: Hardware) -> str:
    """Flags that would fit: the largest micro-batch, at most half of this one, with the same effective batch size."""
    free, own = available_memory(hardware), train.batch_size * train.grad_accum // hardware.distributed.world_size
    now, _ = hardware.distributed.split_batch(train.batch_size, train.grad_accum)
    needed = sum(memory_needed(config, now, hardware, train).values())
    text = f"{now} rows of {config.block_size} tokens need about {needed / 1e9:.1f} GB"
    if free != math.inf:
        text += f"; {free / 1e9:.1f} GB are available"
    step = train.batch_size * train.grad_accum
    for rows in range(now // 2, 0, -1):
        if own % rows == 0 and sum(memory_needed(config, rows, hardware, train).values()) < 0.8 * free:
            return f"{text}. This fits, with the same effective batch: --batch-size {rows} --grad-accum {step // rows}"
    fsdp = " --parallel fsdp, or" if hardware.distributed.world_size > 1 and not hardware.sharded else ""
    return f"{text}. A single row would not fit: use{fsdp} a smaller --block-size, --n-layer or --n-embd"


@contextmanager
def oom_hint(config: ModelConfig, train: TrainConfig, hardware: Hardware) -> Iterator[None]:
    """Turn an out-of-memory error into a TrainingError that suggests flags that would fit."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(f"out of memory: {suggest_fit(config, train, hardware)}") from None
