"""The script that torchrun starts for test_distributed.py.

`distributed_worker.py compare FOLDER` runs all trainings that the tests compare with those of one process;
`distributed_worker.py kill FOLDER [FLAGS]` kills one process, which torchrun restarts.
"""

import contextlib
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import inkhorn.hardware.distributed
import inkhorn.training.trainer
from inkhorn.cli.main import main
from inkhorn.config.model import Architecture
from inkhorn.config.train import Optimizer, Parallel, TrainConfig
from inkhorn.data.dataset import Dataset, tokenize_to_disk
from inkhorn.data.text import TextSource
from inkhorn.hardware.device import Hardware
from inkhorn.hardware.distributed import SINGLE_PROCESS, DistributedContext, hard_exit, process_group
from inkhorn.training.callbacks import Callbacks
from inkhorn.training.state import TrainState
from inkhorn.training.trainer import Trainer

TEXT = "to be or not to be that is the question\nwhether tis nobler in the mind to suffer\n" * 30
ARCHITECTURE = Architecture(n_layer=2, n_head=2, n_embd=18, block_size=16)  # not divisible by the number of processes
BASE = TrainConfig(
    steps=8,
    batch_size=4,
    grad_accum=4,
    warmup_steps=2,
    momentum_warmup=5,
    eval_every=4,
    save_every=4,
    log_every=1,
    sample_tokens=5,
    snapshots=3,
    pad_vocab_to=8,
    ema_decay=0.9,
    dtype="float32",
    eval_at_loss=(),
)
COMMAND = [
    *("train", "test", "--text", "words.txt", "--steps", "8", "--save-every", "4", "--eval-every", "4"),
    *("--dropout", "0.1", "--dropout-start", "0", "--log-every", "1", "--sample-tokens", "5", "--dtype", "float32"),
]
trainer_module: Any = inkhorn.training.trainer
SIGNAL_STEP = 5
"""The step after which a process gets the signal."""


def make_dataset(folder: Path) -> Dataset:
    source = TextSource(name="words", pieces=lambda: (TEXT,), val_pieces=lambda: (TEXT[:300],))
    return tokenize_to_disk(source, folder / "cache")


def make_trainer(
    data: Dataset, out: Path, train: TrainConfig, distributed: DistributedContext = SINGLE_PROCESS
) -> Trainer:
    config = ARCHITECTURE.to_model_config(
        data.tokenizer.vocab_size, bos_token_id=data.bos_token_id, eos_token_id=data.tokenizer.eos_id
    )
    sharded = train.parallel == "fsdp" and distributed.world_size > 1
    hardware = Hardware(torch.device("cpu"), torch.float32, False, (), distributed, sharded)
    return Trainer(config, train, data, out, hardware, 1e12, Callbacks())


def send_signal_at(step: int, rank: int, number: signal.Signals) -> None:
    """Make the process of this rank send itself a signal after a training step."""
    original = trainer_module.train_step

    def step_then_signal(state: TrainState, *rest: Any) -> torch.Tensor:
        values = original(state, *rest)
        if state.step == step and os.environ["RANK"] == str(rank):
            os.kill(os.getpid(), number)
        return values

    trainer_module.train_step = step_then_signal


def compare(folder: Path) -> None:
    """Run all trainings that test_distributed.py compares with those of one process."""
    with process_group(cuda=False) as distributed:
        data = distributed.main_process_first(lambda: make_dataset(folder))
        modes: tuple[Parallel, ...] = ("ddp", "fsdp")
        optimizers: tuple[Optimizer, ...] = ("adamw", "muon")
        for optimizer in optimizers:
            for parallel in modes:
                train = replace(BASE, optimizer=optimizer, parallel=parallel)
                make_trainer(data, folder / f"{parallel}-{optimizer}", train, distributed).run(resume=False)
        original = trainer_module.train_step
        changes: tuple[tuple[Parallel, Parallel | None], ...] = (("fsdp", "ddp"), ("ddp", "fsdp"), ("fsdp", None))
        for first, then in changes:
            out = folder / f"{first}-then-{then or 'one'}"
            send_signal_at(SIGNAL_STEP, 1, signal.SIGTERM)
            stopped = make_trainer(data, out, replace(BASE, parallel=first), distributed)
            state = stopped.run(resume=False)
            assert (state.step, stopped.interrupted) == (SIGNAL_STEP, signal.SIGTERM), "both processes stop"
            trainer_module.train_step = original
            if then:
                make_trainer(data, out, replace(BASE, parallel=then), distributed).run(resume=True)
        os.chdir(folder)
        distributed_module: Any = inkhorn.hardware.distributed
        distributed_module.process_group = lambda cuda: contextlib.nullcontext(distributed)  # the group exists already
        assert main([*COMMAND, "--out", "uninterrupted"]) == 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "compare":
        compare(Path(sys.argv[2]))
        hard_exit(0)
    else:
        os.chdir(sys.argv[2])
        if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            send_signal_at(SIGNAL_STEP, 1, signal.SIGKILL)
        hard_exit(main([*COMMAND, *sys.argv[3:], "--out", "killed"]))
