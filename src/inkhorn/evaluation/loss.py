"""How well a model predicts a text: the loss over all of it, the same windows each time."""

import math

import torch

from inkhorn.config.model import ModelConfig
from inkhorn.data.batches import evaluation_windows
from inkhorn.data.dataset import Array
from inkhorn.hardware.device import Hardware
from inkhorn.model import GPT

LARGEST_ACTIVATION = 256 << 20
"""bytes in float32 that the logits of a batch, its MLPs' hidden layer, or its attention may take in evaluation"""


@torch.no_grad()
def split_loss(model: GPT, ids: Array, hardware: Hardware, batch_size: int = 64) -> float:
    """Mean loss in nats per token over every token of `ids` but the first, in non-overlapping windows of block_size.

    The first tokens of a window are predicted from little context, so this is the upper of the usual conventions.
    Several processes share the windows, and all must call this.

    Args:
        model: is left in the mode it was in.
        ids: (n,) token ids, n at least 2.
        hardware: where the model is, and in which precision.
        batch_size: most windows at a time; fewer where LARGEST_ACTIVATION asks for it. The loss is the same.

    """
    batch_size = rows_at_once(model.config, batch_size)
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


def rows_at_once(config: ModelConfig, most: int, largest: int | None = None) -> int:
    """How many windows to evaluate together: `most`, or as many as `largest` bytes hold, and at least one.

    `largest` is LARGEST_ACTIVATION when absent.
    """
    row = 4 * config.block_size * max(config.vocab_size, config.inner, config.n_head * min(config.block_size, 512))
    return max(1, min(most, (LARGEST_ACTIVATION if largest is None else largest) // row))


def bits(nats: float) -> float:
    """Nats per token as bits per token: with a character vocabulary, bits per character."""
    return nats / math.log(2)
