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
        return np.stack([self.row(n) for n in rows_of(step, self.batch_size)]).astype(np.int64)

    def row(self, number: int) -> Array:
        """Row `number` of all, counted from the first batch: (block_size + 1,) ids."""
        start = self._start(*divmod(number, self.windows))
        return self.ids[start : start + self.block_size + 1]


class MixtureSampler:
    """Batches from two texts: at first from the earlier one, then from both, at the end from the later one alone.

    The later text's share of the rows rises linearly. Rows of each text come in the order of a `BatchSampler`, and like
    that one this sampler has no state.

    Args:
        earlier: (n,) token ids, n > block_size.
        later: (m,) token ids, m > block_size.
        batch_size: rows of a batch.
        block_size: tokens of a row.
        seed: of the order.
        start: number of rows before the first one of the later text.
        end: number of rows before those that are of the later text alone, at least `start`.
    """

    def __init__(
        self,
        earlier: Array | ShardedIds,
        later: Array | ShardedIds,
        batch_size: int,
        block_size: int,
        seed: int,
        *,
        start: int,
        end: int,
    ) -> None:
        self.earlier = BatchSampler(earlier, batch_size, block_size, seed)
        self.later = BatchSampler(later, batch_size, block_size, seed)
        self.batch_size, self.start, self.end = batch_size, start, end

    def later_rows(self, n: int) -> int:
        """How many of the first n rows are of the later text."""
        if n <= self.start:
            return 0
        rising = min(n, self.end) - self.start
        return (rising * rising // max(1, self.end - self.start) + 2 * max(0, n - self.end)) // 2

    def batch(self, step: int) -> Array:
        """The batch of `step`: (batch_size, block_size + 1) int64. Inputs are [:, :-1], targets [:, 1:]."""
        rows = []
        for n in rows_of(step, self.batch_size):
            before = self.later_rows(n)
            is_later = self.later_rows(n + 1) > before
            rows.append(self.later.row(before) if is_later else self.earlier.row(n - before))
        return np.stack(rows).astype(np.int64)


def rows_of(step: int, batch_size: int) -> range:
    """The numbers of a batch's rows."""
    return range(step * batch_size, (step + 1) * batch_size)


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
