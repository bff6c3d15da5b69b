"""One training step: the gradient of some micro-batches and an update of the weights."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from inkhorn.config.train import TrainConfig
from inkhorn.hardware.device import Hardware
from inkhorn.model import GPT, CausalSelfAttention
from inkhorn.training.distill import Teachers
from inkhorn.training.parallel import full_tensor, no_sync
from inkhorn.training.schedule import momentum, rate
from inkhorn.training.state import TrainState


def train_step(
    state: TrainState,
    forward: Any,
    batches: Sequence[Tensor],
    train: TrainConfig,
    hardware: Hardware,
    teachers: Teachers | None = None,
) -> Tensor:
    """Update the weights once, by the mean gradient over all processes.

    Args:
        state: the training state; changed in place.
        forward: the model, as wrapped by `parallel.wrap_forward`.
        batches: this process's micro-batches, each (B, T + 1) token ids.
        teachers: models to learn from besides the text.

    Returns:
        (2,) mean loss in nats per token of these batches before the update, and the gradient's norm before clipping.
    """
    hardware.distributed.seed_rng(train.seed, state.step)
    factor = rate(state.step, train) * state.lr_scale
    switch_dropout(state.model, on=state.step >= train.dropout_start * train.steps)
    decays = state.step >= train.weight_decay_start * train.steps
    for optimizer in state.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
            group["weight_decay"] = group["full_weight_decay"] if decays else 0.0
            if "parts" in group:
                group["momentum"] = momentum(state.step, train)
        optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=hardware.device)
    for i, rows in enumerate(batches):
        with nullcontext() if i == len(batches) - 1 else no_sync(forward):
            with hardware.autocast():
                logits, loss = forward(rows[:, :-1], rows[:, 1:])
            if teachers is not None:
                loss = teachers.mix(loss, logits, rows[:, :-1])
            (loss / len(batches)).backward()
        total += loss.detach() / len(batches)
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), train.grad_clip or math.inf)
    for optimizer in state.optimizers:
        optimizer.step()
    state.step += 1
    if state.ema is not None:
        # A short average at first, so that the random initial weights are forgotten soon.
        decay = min(train.ema_decay, state.step / (state.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(state.ema.parameters()), list(state.model.parameters()), 1 - decay)
    return torch.stack([total, full_tensor(norm)])


def switch_dropout(model: GPT, *, on: bool) -> None:
    """Turn dropout on or off until the next call of `train()` or `eval()`."""
    for module in model.modules():
        if isinstance(module, nn.Dropout | CausalSelfAttention):  # the latter drops attention weights itself
            module.training = on
