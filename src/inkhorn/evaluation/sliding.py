"""The loss of a model over a text in windows that slide over it."""

import math
from collections.abc import Callable, Iterator
from itertools import islice

from inkhorn.data.dataset import Array
from inkhorn.errors import CorpusError, require
from inkhorn.evaluation.loglikelihood import Window, score_windows
from inkhorn.hardware.device import Hardware
from inkhorn.model import GPT


def sliding_windows(n: int, block_size: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Windows (start, end, first) over n tokens: `ids[first:end]` are scored given `ids[start:first]`.

    Every token but the text's first is scored once. With a stride below block_size each has at least
    block_size + 1 - stride tokens of context, except in the first window.

    Raises:
        UsageError: a stride outside 1 to block_size.
    """
    require(1 <= stride <= block_size, f"--stride must be from 1 to {block_size}, the context length, not {stride}")
    first = 1
    for start in range(0, max(1, n - 1), stride):
        end = min(start + block_size + 1, n)
        if first < end:
            yield start, end, first
        first = end


def text_loss(
    model: GPT,
    ids: Array,
    hardware: Hardware,
    *,
    stride: int,
    max_length: int | None = None,
    batch_size: int = 64,
    progress: Callable[[int], None] = lambda _: None,
) -> float:
    """Mean loss over every token but the first, in windows of `max_length` that advance by `stride`.

    Args:
        model: in eval mode, on the hardware's device.
        ids: (n,) token ids.
        stride: 1 to max_length; max_length gives non-overlapping windows.
        max_length: tokens of context in a window, by default block_size.
        batch_size: most windows at a time.
        progress: called with the number of windows done since the last call.

    Returns:
        Nats per token.

    Raises:
        CorpusError: fewer than two tokens.
    """
    if len(ids) < 2:
        raise CorpusError(f"the text has {len(ids)} tokens for this model; a loss needs at least 2")
    spans = sliding_windows(len(ids), max_length or model.config.block_size, stride)
    windows = (Window(tuple(ids[start:end].tolist()), first - start) for start, end, first in spans)
    sums: list[float] = []
    while group := list(islice(windows, batch_size)):
        sums += [scores.total for scores in score_windows(model, group, hardware, batch_size, progress)]
    return -math.fsum(sums) / (len(ids) - 1)
