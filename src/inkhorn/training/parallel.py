"""Data parallelism: the model replicated (DDP) or sharded (FSDP) over the processes of a run.

DDP (Li et al. 2020) averages gradients once per step. FSDP (Zhao et al. 2023; here torch's fully_shard) keeps a part of
each weight, gradient and optimizer state in each process, and gathers the weights of a block when it runs.
"""

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inkhorn.config.model import ModelConfig
from inkhorn.config.train import TrainConfig
from inkhorn.errors import CheckpointError
from inkhorn.hardware.device import Hardware
from inkhorn.model import GPT
from inkhorn.training.memory import available_memory, memory_needed


def choose_parallel(config: ModelConfig, train: TrainConfig, hardware: Hardware) -> Hardware:
    """Choose between DDP and FSDP; returns the hardware with `sharded` and `reasons` set.

    Raises:
        UsageError: the rows of a step cannot be split over the processes.
    """
    distributed = hardware.distributed
    if distributed.world_size == 1:
        said = ("parallel off: --parallel fsdp needs more than one process",) if train.parallel == "fsdp" else ()
        return replace(hardware, reasons=hardware.reasons + said)
    rows, passes = distributed.split_batch(train.batch_size, train.grad_accum)
    split = f"processes {distributed.world_size}: {rows * passes} rows of a step each, in micro-batches of {rows}"
    kind, why = train.parallel, "as requested"
    if kind == "auto":
        fits = sum(memory_needed(config, rows, hardware, train).values()) < 0.8 * available_memory(hardware)
        kind = "fsdp" if distributed.any(not fits) and not train.lora_rank else "ddp"
        why = "a full copy would hardly fit into memory" if kind == "fsdp" else "a full copy fits into memory"
    what = "the model is sharded" if kind == "fsdp" else "the model is replicated"
    reasons = (*hardware.reasons, split, f"parallel {kind} ({what}): {why}")
    return replace(hardware, sharded=kind == "fsdp", reasons=reasons)


def shard_or_move(model: GPT, hardware: Hardware) -> GPT:
    """Move a model, equal in all processes, to the device, or shard it with FSDP; returns it."""
    if not hardware.sharded:
        return model.to(hardware.device)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(hardware.device.type, (hardware.distributed.world_size,))
    for block in model.h:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)  # the parameters outside the blocks: embeddings, head and final norm
    return model


def wrap_forward(model: GPT, hardware: Hardware) -> Any:
    """The callable of a training step: the model, wrapped by DDP and compiled where the hardware asks for it.

    Compiling after wrapping lets DDP's buckets split the graph where gradients are sent. With FSDP each block is
    compiled separately, between the hooks that gather its weights.
    """
    if hardware.sharded:
        for block in model.h:
            if hardware.compile:
                setattr(block, "forward", torch.compile(block.forward))  # noqa: B010
        return model
    forward: Any = model
    if hardware.distributed.world_size > 1:
        from torch.nn.parallel import DistributedDataParallel

        forward = DistributedDataParallel(model, gradient_as_bucket_view=True)
    return torch.compile(forward) if hardware.compile else forward


def no_sync(forward: Any) -> AbstractContextManager[None]:
    """A context for all micro-batches of a step but the last, in which DDP does not synchronize gradients.

    FSDP synchronizes at each micro-batch: otherwise it would have to keep all gradients unsharded.
    """
    hold = getattr(forward, "no_sync", None)
    return nullcontext() if hold is None else hold()


# A sharded tensor is torch's DTensor. It is recognized by its methods: importing the class takes a second.


def full_tensor(tensor: Tensor) -> Tensor:
    """Gather a sharded tensor; all processes must call this. Other tensors are returned unchanged."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def to_local(tensor: Tensor) -> Tensor:
    """This process's part of a sharded tensor; other tensors are returned unchanged."""
    part = getattr(tensor, "to_local", None)
    return tensor if part is None else part()


def distribute_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Shard a tensor, equal in all processes, like another; returned unchanged if the other is not sharded."""
    if not hasattr(like, "full_tensor"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)  # type: ignore[attr-defined]


def save_shards(folder: Path, tensors: Mapping[str, Tensor], hardware: Hardware) -> None:
    """Write each process's parts of the tensors as safetensors; all processes must call this.

    Raises:
        CheckpointError: a process failed; raised in all.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    try:
        save(dict(tensors), storage_writer=writer, process_group=hardware.distributed.group)
    except CheckpointException as error:
        raise CheckpointError(_first(error)) from None


def load_shards(folder: Path, tensors: Mapping[str, Tensor], hardware: Hardware) -> None:
    """Load tensors written by `save_shards`, by any number of processes; all processes must call this.

    Raises:
        CheckpointError: a process failed; raised in all.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = HuggingFaceStorageReader(str(folder))
    single = hardware.distributed.world_size == 1
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")  # expected with one process
            load(dict(tensors), storage_reader=reader, process_group=hardware.distributed.group, no_dist=single)
    except CheckpointException as error:
        raise CheckpointError(f"cannot read {folder}: {_first(error)}") from None


def _first(error: Any) -> str:
    """The message of the first process that failed; torch reports all of them with their stacks."""
    rank, (problem, _) = min(error.failures.items())
    return f"process {rank}: {problem}"
