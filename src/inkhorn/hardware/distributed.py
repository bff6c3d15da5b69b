"""The processes of a run, as torchrun starts them: which one this is, and what they tell each other.

A plain run is one process: it asks the same questions, answers them itself, and sends nothing.
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

from inkhorn.errors import InkhornError, TrainingError, require

T = TypeVar("T")

PATIENCE = timedelta(days=1)
"""how long the others wait for one that reads a corpus or writes a checkpoint"""


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run.

    Attributes:
        rank: which one it is, from 0.
        count: how many there are.
        local: which one it is on its machine, from 0: so the GPUs are dealt.
        local_count: how many are on its machine.
        group: over which they tell each other numbers in the CPU's memory; gradients go another way.

    """

    rank: int = 0
    count: int = 1
    local: int = 0
    local_count: int = 1
    group: Any = None

    @property
    def leads(self) -> bool:
        """Whether this is the one that speaks, records and saves."""
        return self.rank == 0

    def share(self, batch_size: int, grad_accum: int) -> tuple[int, int]:
        """The rows of a pass, and the passes, that each process makes of a step: as few as batch_size allows.

        All together they are the batch_size * grad_accum rows that one process would take: what a step means does not
        depend on how many there are. UsageError if the rows cannot be shared out equally.
        """
        rows = batch_size * grad_accum
        require(
            rows % self.count == 0,
            f"a step has --batch-size {batch_size} times --grad-accum {grad_accum} = {rows} rows, which {self.count} "
            f"processes cannot share out equally: make that a multiple of {self.count}",
        )
        own = rows // self.count
        size = next(size for size in range(min(batch_size, own), 0, -1) if own % size == 0)
        return size, own // size

    def sums(self, values: Tensor) -> Tensor:
        """The sum over all processes of a tensor of any shape, the same on each; itself where there is one."""
        if self.count == 1:
            return values
        total = values.detach().cpu().double()
        dist.all_reduce(total, group=self.group)
        return total

    def largest(self, value: int) -> int:
        """The largest of what all say."""
        if self.count == 1:
            return value
        found = torch.tensor(value)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self.group)
        return int(found)

    def any(self, flag: bool) -> bool:
        """Whether one of them says so."""
        return self.largest(int(flag)) > 0

    def wait(self) -> None:
        """Until all are here."""
        self.largest(0)

    def draw(self, seed: int, step: int) -> None:
        """Set torch's random numbers, for dropout: others in each process and step, and the same if it is repeated.

        One process goes on with those that it has, which a checkpoint keeps.
        """
        if self.count > 1:
            torch.manual_seed(int(np.random.SeedSequence([seed, step, self.rank]).generate_state(1, np.uint64)[0] >> 1))

    def in_turn(self, work: Callable[[], T]) -> T:
        """What `work` returns: in the first process first, then in the first of each machine, then in the others.

        So what takes long, and is kept on a disk, is done once. Where one fails, all do.
        """
        turn = 0 if self.leads else 1 if self.local == 0 else 2
        result: list[T] = []
        for now in range(3 if self.count > 1 else 1):
            problem: InkhornError | None = None
            try:
                if now == turn:
                    result.append(work())
            except InkhornError as error:
                problem = error
            self.agree(problem)
        return result[0]

    def agree(self, problem: InkhornError | None, kind: type[InkhornError] = TrainingError) -> None:
        """Raise `problem`, or where there is none an error of some kind if another process has one."""
        others = self.any(problem is not None)
        if problem is not None:
            raise problem
        if others:
            raise kind(f"another of the {self.count} processes has failed, and says why")


ALONE = Ranks()
"""the one process of a plain run"""


def launched() -> bool:
    """Whether torchrun, or what sets the same variables, has started this process as one of several."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys() and os.environ["WORLD_SIZE"] != "1"


@contextmanager
def joined(*, cuda: bool) -> Iterator[Ranks]:
    """The processes that torchrun has started, brought together; a single one without it.

    Args:
        cuda: whether they may train on GPUs, which then tell each other gradients over NCCL.

    Raises TrainingError where another process has gone.

    """
    if not launched():
        yield ALONE
        return
    count = int(os.environ["WORLD_SIZE"])
    with noticing_loss(count):
        store, rank, _ = next(rendezvous("env://"))
        # torchrun's store outlives its processes: those that it starts again must not find their forerunners' addresses
        life = f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{count}"
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        own = dist.PrefixStore(life, store)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=own, rank=rank, world_size=count)
        try:
            group = dist.new_group(backend="gloo", timeout=PATIENCE)
            local, local_count = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
            ranks = Ranks(rank, count, local, local_count, group)
            yield ranks
            ranks.wait()  # the last to finish may still write
        finally:
            dist.destroy_process_group()  # or threads of torch's would end the process with a cry


def leave(code: int) -> NoReturn:
    """End a process that torchrun has started, with an exit code, and with nothing of Python's or C++'s taken down.

    Once in many runs a process that was done died in that ("terminate called without an active exception", torch 2.13,
    gloo), and torchrun took the whole run for failed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def noticing_loss(count: int) -> Iterator[None]:
    """Turns what torch raises when another process has gone into a TrainingError."""
    try:
        yield
    except RuntimeError as error:
        if count == 1 or not _is_loss(error):
            raise
        raise TrainingError(
            f"another of the {count} processes has ended or cannot be reached: it may have said why. The run goes on "
            "from its last checkpoint with --resume, or by itself with torchrun --max-restarts"
        ) from None


def _is_loss(error: RuntimeError) -> bool:
    if isinstance(error, dist.DistError):
        return True
    words = ("closed by peer", "reset by peer", "gloo", "NCCL", "Broken pipe", "Timed out waiting", "timed out")
    return any(word in str(error) for word in words)
