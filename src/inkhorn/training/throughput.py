"""Measured training throughput: a few steps on random tokens."""

import statistics
import time
from dataclasses import dataclass, replace

import torch

from inkhorn.config.model import ModelConfig
from inkhorn.config.train import TrainConfig
from inkhorn.hardware.device import Hardware
from inkhorn.training.memory import oom_hint
from inkhorn.training.state import TrainState, new_state
from inkhorn.training.step import train_step


@dataclass(frozen=True)
class StepTiming:
    # seconds of a forward and backward pass, one per round; empty without gradient accumulation
    passes: tuple[float, ...]
    steps: tuple[float, ...]  # seconds of a step, that is `grad_accum` passes and an optimizer update, one per round
    tokens: int  # the number of tokens in a step

    @property
    def tokens_per_second(self) -> float:
        """The speed of the median step."""
        return self.tokens / statistics.median(self.steps)


def benchmark_step(config: ModelConfig, train: TrainConfig, hardware: Hardware, rounds: int = 2) -> StepTiming:
    """Time training steps with random weights and tokens.

    With gradient accumulation only one micro-batch and one update are timed, and the step is extrapolated. The first
    step is a warmup and not counted.

    Raises:
        TrainingError: out of memory.
    """
    single = replace(train, grad_accum=1, lora_rank=0)
    generator = torch.Generator().manual_seed(train.seed)
    shape = (train.batch_size, config.block_size + 1)
    rows = torch.randint(config.vocab_size, shape, generator=generator).to(hardware.device)
    with oom_hint(config, single, hardware):
        state = new_state(config, single, hardware)
        frozen = replace(state, optimizers=[])  # the same model without updates
        forward = torch.compile(state.model) if hardware.compile else state.model

        def seconds(of: TrainState) -> float:
            start = time.perf_counter()
            train_step(of, forward, [rows], single, hardware).tolist()  # .tolist() waits for the device
            return time.perf_counter() - start

        seconds(state)
        steps, passes = [], []
        for _ in range(rounds):
            passes += [seconds(frozen)] if train.grad_accum > 1 else []
            steps.append(seconds(state) + (train.grad_accum - 1) * sum(passes[-1:]))
    return StepTiming(tuple(passes), tuple(steps), rows[:, 1:].numel() * train.grad_accum)
