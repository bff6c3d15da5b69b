"""A model spread over the processes of a run: a whole copy in each (DDP), or its share of every tensor (FSDP).

DDP (Li et al. 2020) averages gradients once a step. FSDP (Zhao et al. 2023; here torch's fully_shard) keeps of each
weight, gradient and moment only a part in each process, and gathers the weights of a block when that is run.
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
    """How several processes share a run: the hardware with that choice, and the reasons of it.

    UsageError if they cannot share out the rows of a step.
    """
    distributed = hardware.distributed
    if distributed.world_size == 1:
        said = ("parallel off: fsdp was asked for, but there is one process",) if train.parallel == "fsdp" else ()
        return replace(hardware, reasons=hardware.reasons + said)
    rows, passes = distributed.split_batch(train.batch_size, train.grad_accum)
    shares = f"processes {distributed.world_size}: each takes {rows * passes} rows of a step, {rows} at a time"
    kind, why = train.parallel, "as asked"
    if kind == "auto":
        fits = sum(memory_needed(config, rows, hardware, train).values()) < 0.8 * available_memory(hardware)
        kind = "fsdp" if distributed.any(not fits) and not train.lora_rank else "ddp"
        why = "a whole model would hardly fit into the memory of each" if kind == "fsdp" else "it fits"
    what = "each keeps its share of the model" if kind == "fsdp" else "each has the whole model"
    reasons = (*hardware.reasons, shares, f"parallel {kind} ({what}): {why}")
    return replace(hardware, sharded=kind == "fsdp", reasons=reasons)


def shard_or_move(model: GPT, hardware: Hardware) -> GPT:
    """Bring a model, the same in each process, to where it is trained; returns it."""
    if not hardware.sharded:
        return model.to(hardware.device)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(hardware.device.type, (hardware.distributed.world_size,))
    for block in model.h:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)  # what is in no block: the embeddings, the head and the last norm
    return model


def wrap_forward(model: GPT, hardware: Hardware) -> Any:
    """What a training step calls: the model, under DDP where there are several, compiled if that pays.

    torch compiles after wrapping, so that DDP's buckets cut the graph where gradients are sent. Under FSDP each block
    is compiled by itself, between the hooks that gather its weights.
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
    """Around a pass that is not the step's last: DDP then keeps the gradients to itself.

    FSDP averages at each pass: to wait it would have to keep every gradient whole, and not to is what it is for.
    """
    hold = getattr(forward, "no_sync", None)
    return nullcontext() if hold is None else hold()


# A sharded tensor is torch's DTensor, asked for by what it can do: importing the class takes a plain run a second.


def full_tensor(tensor: Tensor) -> Tensor:
    """A tensor gathered from all processes, which all must call this; itself where it is not sharded."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def to_local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor; itself where it is not sharded."""
    part = getattr(tensor, "to_local", None)
    return tensor if part is None else part()


def distribute_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, the same in each process, sharded as another is."""
    if not hasattr(like, "full_tensor"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)  # type: ignore[attr-defined]


def save_shards(folder: Path, tensors: Mapping[str, Tensor], hardware: Hardware) -> None:
    """Write tensors, each process its parts, as safetensors. All must call this.

    Raises CheckpointError in every process if one could not.
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
    """Fill tensors from what `save_shards` wrote, whatever the number of processes was then. All must call this.

    Raises CheckpointError in every process if one could not.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = HuggingFaceStorageReader(str(folder))
    alone = hardware.distributed.world_size == 1
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")  # so it is in a plain run
            load(dict(tensors), storage_reader=reader, process_group=hardware.distributed.group, no_dist=alone)
    except CheckpointException as error:
        raise CheckpointError(f"cannot read {folder}: {_first(error)}") from None


def _first(error: Any) -> str:
    """What the first process that failed said; torch reports all with their stacks."""
    rank, (problem, _) = min(error.failures.items())
    return f"process {rank}: {problem}"
