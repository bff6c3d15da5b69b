"""The validation loss: the same non-overlapping windows each time."""

import math

import torch

from inkhorn.config.model import ModelConfig
from inkhorn.data.batches import evaluation_windows
from inkhorn.data.dataset import Array
from inkhorn.hardware.device import Hardware
from inkhorn.model import GPT

MAX_ACTIVATION_BYTES = 256 << 20
"""Most bytes in float32 that the logits of a batch, its MLP's hidden layer or its attention may take in evaluation."""


@torch.no_grad()
def split_loss(model: GPT, ids: Array, hardware: Hardware, batch_size: int = 64) -> float:
    """Mean loss over every token but the first, in non-overlapping windows of block_size.

    The first tokens of a window have little context, so this is the highest of the usual conventions. With several
    processes the windows are shared, and all processes must call this.

    Args:
        model: left in the mode it was in.
        ids: (n,) token ids, n at least 2.
        batch_size: most windows at a time; fewer where MAX_ACTIVATION_BYTES requires it. The loss is the same.

    Returns:
        Nats per token.
    """
    batch_size = max_rows(model.config, batch_size)
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    for i, rows in enumerate(evaluation_windows(ids, model.config.block_size, batch_size)):
        if i % hardware.distributed.world_size != hardware.distributed.rank:
            continue
        window = torch.from_numpy(rows).to(hardware.device)  # (b, t + 1)
        with hardware.autocast():
            _, loss = model(window[:, :-1], window[:, 1:])
        assert loss is not None
        total += loss.item() * window[:, 1:].numel()
        count += window[:, 1:].numel()
    model.train(was_training)
    total, count = hardware.distributed.all_reduce_sum(torch.tensor([total, count], dtype=torch.float64)).tolist()
    return total / count


def max_rows(config: ModelConfig, most: int, limit: int | None = None) -> int:
    """Rows to evaluate together: `most`, or as many as `limit` bytes (MAX_ACTIVATION_BYTES) hold, and at least one."""
    limit = MAX_ACTIVATION_BYTES if limit is None else limit
    row = 4 * config.block_size * max(config.vocab_size, config.inner, config.n_head * min(config.block_size, 512))
    return max(1, min(most, limit // row))


def bits(nats: float) -> float:
    return nats / math.log(2)
