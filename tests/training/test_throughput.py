"""The benchmark of a training step."""

from typing import Any

import pytest
import torch
from helpers.models import tiny_config

from inkhorn.config.train import TrainConfig
from inkhorn.hardware.device import Hardware
from inkhorn.training import throughput
from inkhorn.training.throughput import benchmark_step

CPU = torch.device("cpu")


def test_benchmark_step_with_gradient_accumulation(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a fake clock: a pass takes 2 s, an update 1 s."""
    clock = [0.0]

    def step(state: Any, *rest: Any) -> torch.Tensor:
        clock[0] += 3.0 if state.optimizers else 2.0
        return torch.zeros(2)

    monkeypatch.setattr(throughput, "train_step", step)
    monkeypatch.setattr("inkhorn.training.throughput.time.perf_counter", lambda: clock[0])
    hardware = Hardware(CPU, torch.float32, False, ())
    found = benchmark_step(tiny_config(), TrainConfig(batch_size=2, grad_accum=5), hardware)
    assert found.passes == (2.0, 2.0)
    assert found.steps == (11.0, 11.0)
    assert found.tokens_per_second == pytest.approx(2 * 12 * 5 / 11)
    assert benchmark_step(tiny_config(), TrainConfig(batch_size=2), hardware).steps == (3.0, 3.0)
