"""Token ids on disk, and batches of them in an order that is a pure function of (seed, step).

A dataset is a folder: `train.bin` and `val.bin` (little-endian ids, mapped into memory, never read whole), the
tokenizer that made them, and `dataset.json`. It is built once for a text and found again by the text's checksum.
"""

from collections.abc import Iterator

import numpy as np

from inkhorn.data.dataset import Array
from inkhorn.data.shards import ShardedIds


class BatchSampler:
    """Training windows in an order without end, shuffled anew each epoch.

    An epoch cuts the ids into windows of block_size tokens from a random offset and deals them in random order: each
    token, but for less than two blocks at the ends, is learnt from once an epoch, and windows never fall the same way
    twice. Nothing is remembered between steps.

    Args:
        ids: (n,) token ids, n above block_size.
        batch_size: rows of a batch.
        block_size: tokens of a row.
        seed: of the order.

    """

    def __init__(self, ids: Array | ShardedIds, batch_size: int, block_size: int, seed: int) -> None:
        self.ids, self.batch_size, self.block_size, self.seed = ids, batch_size, block_size, seed
        # One window fewer than fit at offset 0, so that as many fit at every offset.
        self.windows = max(1, len(ids) // block_size - 1)
        self._epoch, self._starts = -1, np.empty(0, np.int64)

    def _start(self, epoch: int, index: int) -> int:
        if epoch != self._epoch:
            random = np.random.default_rng([self.seed, epoch])
            spare = len(self.ids) - self.windows * self.block_size
            offset = random.integers(min(self.block_size, spare))
            self._starts = offset + self.block_size * random.permutation(self.windows)
            self._epoch = epoch
        return int(self._starts[index])

    def batch(self, step: int) -> Array:
        """The rows of batch number `step`: (batch_size, block_size + 1) int64, inputs and the token after the last."""
        first = step * self.batch_size
        starts = [self._start(*divmod(n, self.windows)) for n in range(first, first + self.batch_size)]
        return np.stack([self.ids[start : start + self.block_size + 1] for start in starts]).astype(np.int64)


def evaluation_windows(ids: Array, block_size: int, batch_size: int) -> Iterator[Array]:
    """Every token of `ids` but the first as a target exactly once, in non-overlapping windows, always the same.

    Yields (b, t + 1) int64 batches, b up to batch_size; the last window may be shorter than block_size and comes alone.
    """
    whole = (len(ids) - 1) // block_size
    for first in range(0, whole, batch_size):
        starts = range(first * block_size, min(first + batch_size, whole) * block_size, block_size)
        yield np.stack([ids[start : start + block_size + 1] for start in starts]).astype(np.int64)
    rest = ids[whole * block_size :]
    if len(rest) > 1:
        yield rest[None, :].astype(np.int64)
