"""Distributed training under torchrun: the process group and the few collectives that training needs.

Without torchrun there is one process, and every collective returns its input.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from inkhorn.errors import InkhornError, PeerLostError, TrainingError, require

T = TypeVar("T")

BARRIER_TIMEOUT = timedelta(days=1)  # how long processes wait for one that tokenizes a corpus or writes a checkpoint


@dataclass(frozen=True)
class DistributedContext:
    """This process and its rank in the process group."""

    rank: int = 0  # the global rank, from 0
    world_size: int = 1  # the number of processes
    local_rank: int = 0  # the rank on this machine, from 0; selects the GPU
    local_world_size: int = 1  # the number of processes on this machine
    group: Any = None  # a gloo group for CPU tensors. Gradients use the default group.

    @property
    def is_main_process(self) -> bool:
        """Whether this is rank 0, which prints, logs and writes checkpoints."""
        return self.rank == 0

    def split_batch(self, batch_size: int, grad_accum: int) -> tuple[int, int]:
        """Split the batch_size * grad_accum rows of a step over the processes.

        The effective batch size does not depend on the number of processes.

        Returns:
            The micro-batch size of each process, at most `batch_size`, and its number of accumulation steps.

        Raises:
            UsageError: the rows are not divisible by the number of processes.
        """
        rows = batch_size * grad_accum
        require(
            rows % self.world_size == 0,
            f"--batch-size {batch_size} times --grad-accum {grad_accum} = {rows} rows per step cannot be split over "
            f"{self.world_size} processes: make it a multiple of {self.world_size}",
        )
        local_rows = rows // self.world_size
        size = next(size for size in range(min(batch_size, local_rows), 0, -1) if local_rows % size == 0)
        return size, local_rows // size

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """Sum a tensor over all processes, in float64 on the CPU; with one process, return it unchanged."""
        if self.world_size == 1:
            return values
        total = values.detach().cpu().double()
        dist.all_reduce(total, group=self.group)
        return total

    def all_reduce_max(self, value: int) -> int:
        """The maximum of an integer over all processes."""
        if self.world_size == 1:
            return value
        result = torch.tensor(value)
        dist.all_reduce(result, dist.ReduceOp.MAX, group=self.group)
        return int(result)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in at least one process."""
        return self.all_reduce_max(int(flag)) > 0

    def barrier(self) -> None:
        """Wait until every process has reached this call."""
        self.all_reduce_max(0)

    def seed_rng(self, seed: int, step: int) -> None:
        """Seed torch's generator for dropout, differently for each process and step, so that a step is repeatable.

        A single process keeps its generator's state, which checkpoints include.
        """
        if self.world_size > 1:
            torch.manual_seed(int(np.random.SeedSequence([seed, step, self.rank]).generate_state(1, np.uint64)[0] >> 1))

    def main_process_first(self, work: Callable[[], T]) -> T:
        """Run `work` on rank 0, then on local rank 0 of each other machine, then on all others; return its result.

        Work that is cached on disk is then done once per disk. If one process fails, all do.
        """
        turn = 0 if self.is_main_process else 1 if self.local_rank == 0 else 2
        result: list[T] = []
        for current in range(3 if self.world_size > 1 else 1):
            problem: InkhornError | None = None
            try:
                if current == turn:
                    result.append(work())
            except InkhornError as error:
                problem = error
            self.raise_if_any_failed(problem)
        return result[0]

    def raise_if_any_failed(self, problem: InkhornError | None, kind: type[InkhornError] = TrainingError) -> None:
        """Raise `problem`; if it is None here but another process has one, raise an error of type `kind`."""
        any_failed = self.any(problem is not None)
        if problem is not None:
            raise problem
        if any_failed:
            raise kind(f"another of the {self.world_size} processes failed: see its message")


SINGLE_PROCESS = DistributedContext()  # the context of a run without torchrun


def is_torchrun() -> bool:
    """Whether torchrun, or a launcher that sets the same variables, started this process as one of several."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys() and os.environ["WORLD_SIZE"] != "1"


@contextmanager
def process_group(*, cuda: bool) -> Iterator[DistributedContext]:
    """Initialize the process group from torchrun's environment; yields SINGLE_PROCESS without torchrun.

    Args:
        cuda: whether training may run on GPUs, whose gradients go over NCCL.

    Raises:
        PeerLostError: another process ended.
    """
    if not is_torchrun():
        yield SINGLE_PROCESS
        return
    world_size = int(os.environ["WORLD_SIZE"])
    with translate_peer_failure(world_size):
        store, rank, _ = next(rendezvous("env://"))
        # torchrun's store outlives its workers: restarted ones must not read the addresses of the ones before.
        prefix = f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{world_size}"
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        prefixed = dist.PrefixStore(prefix, store)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=prefixed, rank=rank, world_size=world_size)
        try:
            group = dist.new_group(backend="gloo", timeout=BARRIER_TIMEOUT)
            local_rank = int(os.environ.get("LOCAL_RANK", 0))
            local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
            distributed = DistributedContext(rank, world_size, local_rank, local_world_size, group)
            yield distributed
            distributed.barrier()  # the slowest process may still be writing
        finally:
            dist.destroy_process_group()  # otherwise torch's threads abort the process at exit


def check_same_step(distributed: DistributedContext, step: int) -> None:
    """Raise TrainingError in all processes unless all of them start from the same step."""
    most, least = distributed.all_reduce_max(step), -distributed.all_reduce_max(-step)
    if most != least:
        raise TrainingError(
            f"the processes see different checkpoints, of step {least} and of step {most}: the folder of --out must be "
            "on a file system that all machines share"
        )


def hard_exit(code: int) -> NoReturn:
    """Exit a torchrun worker without Python's or C++'s teardown.

    In rare runs a worker that had finished aborted in its teardown ("terminate called without an active exception",
    torch 2.13, gloo), and torchrun then reported the run as failed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def translate_peer_failure(world_size: int) -> Iterator[None]:
    """Turn torch's errors about a lost peer into a PeerLostError that says how to resume."""
    try:
        yield
    except RuntimeError as error:
        words = ("closed by peer", "reset by peer", "gloo", "NCCL", "Broken pipe", "Timed out waiting", "timed out")
        if world_size == 1 or not (isinstance(error, dist.DistError) or any(word in str(error) for word in words)):
            raise
        raise PeerLostError(
            f"another of the {world_size} processes ended or cannot be reached: see its message. Resume from the last "
            "checkpoint with --resume, or start with torchrun --max-restarts to do so automatically"
        ) from None
