"""How fast this machine really trains a model: some steps on random tokens, by the clock."""

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
    """What some steps took.

    Attributes:
        passes: seconds of a forward and backward pass, one per round; empty where a step has only one.
        steps: seconds of a step: `grad_accum` such passes and the update of the weights, one per round.
        tokens: that a step learns from.

    """

    passes: tuple[float, ...]
    steps: tuple[float, ...]
    tokens: int

    @property
    def tokens_per_second(self) -> float:
        """Of the median step."""
        return self.tokens / statistics.median(self.steps)


def benchmark_step(config: ModelConfig, train: TrainConfig, hardware: Hardware, rounds: int = 2) -> StepTiming:
    """Time training steps of this shape, on random weights and tokens: no text is needed.

    A step of many passes is not taken whole: it is one of a single pass, and so many more without an update. The first
    step warms up and does not count.

    Raises TrainingError if memory runs out.
    """
    alone = replace(train, grad_accum=1, lora_rank=0)
    generator = torch.Generator().manual_seed(train.seed)
    shape = (train.batch_size, config.block_size + 1)
    rows = torch.randint(config.vocab_size, shape, generator=generator).to(hardware.device)
    with oom_hint(config, alone, hardware):
        state = new_state(config, alone, hardware)
        still = replace(state, optimizers=[])  # the same model, which no step changes
        forward = torch.compile(state.model) if hardware.compile else state.model

        def seconds(of: TrainState) -> float:
            start = time.perf_counter()
            train_step(of, forward, [rows], alone, hardware).tolist()  # the numbers wait for the device
            return time.perf_counter() - start

        seconds(state)
        steps, passes = [], []
        for _ in range(rounds):
            passes += [seconds(still)] if train.grad_accum > 1 else []
            steps.append(seconds(state) + (train.grad_accum - 1) * sum(passes[-1:]))
    return StepTiming(tuple(passes), tuple(steps), rows[:, 1:].numel() * train.grad_accum)
