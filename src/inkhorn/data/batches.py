"""Batches of token ids, in an order that is a pure function of (seed, step)."""

from collections.abc import Iterator

import numpy as np

from inkhorn.data.dataset import Array
from inkhorn.data.shards import ShardedIds


class BatchSampler:
    """An endless sequence of training batches, reshuffled every epoch.

    An epoch cuts the ids into windows of block_size tokens, starting at a random offset, and visits them in random
    order. Each token, except fewer than two blocks at the ends, is seen once per epoch, and the windows differ between
    epochs. The sampler has no state: any step can be computed alone.

    Args:
        ids: (n,) token ids, n > block_size.
        batch_size: rows of a batch.
        block_size: tokens of a row.
        seed: of the order.
    """

    def __init__(self, ids: Array | ShardedIds, batch_size: int, block_size: int, seed: int) -> None:
        self.ids, self.batch_size, self.block_size, self.seed = ids, batch_size, block_size, seed
        # One window fewer than fits at offset 0, so that the same number fits at every offset.
        self.windows = max(1, len(ids) // block_size - 1)
        self._epoch, self._starts = -1, np.empty(0, np.int64)

    def _start(self, epoch: int, index: int) -> int:
        if epoch != self._epoch:
            rng = np.random.default_rng([self.seed, epoch])
            spare = len(self.ids) - self.windows * self.block_size
            offset = rng.integers(min(self.block_size, spare))
            self._starts = offset + self.block_size * rng.permutation(self.windows)
            self._epoch = epoch
        return int(self._starts[index])

    def batch(self, step: int) -> Array:
        """The batch of `step`: (batch_size, block_size + 1) int64. Inputs are [:, :-1], targets [:, 1:]."""
        first = step * self.batch_size
        starts = [self._start(*divmod(n, self.windows)) for n in range(first, first + self.batch_size)]
        return np.stack([self.ids[start : start + self.block_size + 1] for start in starts]).astype(np.int64)


def evaluation_windows(ids: Array, block_size: int, batch_size: int) -> Iterator[Array]:
    """Non-overlapping windows in which every token of `ids` but the first is a target exactly once.

    Yields (b, t + 1) int64 batches, b <= batch_size. The last window may be shorter than block_size; it is a batch of
    its own.
    """
    full = (len(ids) - 1) // block_size
    for first in range(0, full, batch_size):
        starts = range(first * block_size, min(first + batch_size, full) * block_size, block_size)
        yield np.stack([ids[start : start + block_size + 1] for start in starts]).astype(np.int64)
    rest = ids[full * block_size :]
    if len(rest) > 1:
        yield rest[None, :].astype(np.int64)
