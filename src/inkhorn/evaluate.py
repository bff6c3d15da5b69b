"""How well a model predicts a text: the loss over all of it, the same windows each time."""

import math

import torch

from inkhorn.dataset import Array, evaluation_windows
from inkhorn.hardware import Hardware
from inkhorn.model import GPT


@torch.no_grad()
def split_loss(model: GPT, ids: Array, hardware: Hardware, batch_size: int = 64) -> float:
    """Mean loss in nats per token over every token of `ids` but the first, in non-overlapping windows of block_size.

    The first tokens of a window are predicted from little context, so this is the upper of the usual conventions.
    """
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    for rows in evaluation_windows(ids, model.config.block_size, batch_size):
        window = torch.from_numpy(rows).to(hardware.device)  # (b, t + 1)
        with hardware.autocast():
            _, loss = model(window[:, :-1], window[:, 1:])
        assert loss is not None
        total += loss.item() * window[:, 1:].numel()
        count += window[:, 1:].numel()
    model.train(was_training)
    return total / count


def bits(nats: float) -> float:
    """Nats per token as bits per token: with a character vocabulary, bits per character."""
    return nats / math.log(2)
