"""Token ids in many files, read as one array.

The folder has pairs of files `train-00000.bin` and `val-00000.bin` (little-endian ids without a header), and
`index.json`, which lists for each pair the number of tokens, documents and bytes of text, the checksums, and the state
of the document reader after it. The index is written after the files, so every shard it lists is complete.
"""

from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from inkhorn.data.text import SPLITS, Split
from inkhorn.errors import CheckpointError, CorpusError
from inkhorn.utils.download import sha256_of
from inkhorn.utils.files import read_json, write_json

Array = np.ndarray[Any, Any]
INDEX = "index.json"

_MAX_MAPPED = 128  # files; a process can often open no more than 1,024


class ShardedIds:
    """Several files of token ids as one read-only array. Each file is memory-mapped on first use.

    Args:
        paths: of the files.
        lengths: number of ids in each.
        dtype: of the ids.
    """

    def __init__(self, paths: Sequence[Path], lengths: Sequence[int], dtype: str) -> None:
        self.paths, self.dtype = list(paths), np.dtype(dtype)
        self.starts = list(accumulate(lengths, initial=0))  # of each file, and the end of the last one
        self._file = lru_cache(_MAX_MAPPED)(self._map)

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, index: slice) -> Array:
        """A copy of consecutive ids, which may lie in several files."""
        start, stop, step = index.indices(len(self))
        if step != 1:
            raise ValueError(f"only consecutive ids can be read, not every {step}th")
        pieces = []
        while start < stop:
            number = bisect_right(self.starts, start) - 1  # skips empty files
            first = self.starts[number]
            pieces.append(self._file(number)[start - first : stop - first])
            start += len(pieces[-1])
        return np.concatenate(pieces) if pieces else np.empty(0, self.dtype)

    def _map(self, number: int) -> Array:
        return np.memmap(self.paths[number], self.dtype, "r", shape=(self.starts[number + 1] - self.starts[number],))


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A pair of files; pairs are in the order of SPLITS."""

    tokens: list[int]  # in each split
    n_bytes: list[int]  # of text in each split, in UTF-8
    sha256: list[str]  # of each file
    changed: list[int]  # modification time of each file in ns; a file with another one is checked again
    documents: int  # in both splits
    replaced: int  # number of characters outside the vocabulary
    after: dict[str, Any]  # state of the document reader after the last document

    def content(self) -> tuple[object, ...]:
        """The fields in which a rebuilt shard must equal the original."""
        return self.tokens, self.n_bytes, self.sha256, self.documents


@dataclass(frozen=True, kw_only=True)
class Index:
    """The content of `index.json`."""

    dtype: str  # of the ids
    ended: bool = False  # whether all documents have been read
    shards: tuple[Shard, ...] = ()  # in order

    @classmethod
    def read(cls, folder: Path) -> "Index":
        """Read the index of a folder; CheckpointError if it is missing or damaged."""
        saved = read_json(folder / INDEX)
        try:
            return cls(**saved | {"shards": tuple(Shard(**shard) for shard in saved["shards"])})
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{folder / INDEX} is damaged: {error}") from None

    def write(self, folder: Path) -> None:
        """Write the index atomically."""
        write_json(folder / INDEX, asdict(self))

    def damaged(self, folder: Path, *, verify_checksums: bool = False) -> list[int]:
        """The numbers of missing and damaged shards.

        A file with an unchanged modification time is not read, unless `verify_checksums` is set, which also finds bit
        errors of the disk.
        """

        def is_intact(path: Path, tokens: int, sha256: str, changed: int) -> bool:
            if not path.is_file() or path.stat().st_size != tokens * np.dtype(self.dtype).itemsize:
                return False
            with suppress(CorpusError):  # the file cannot be read
                return (not verify_checksums and path.stat().st_mtime_ns == changed) or sha256_of(path) == sha256
            return False

        return [
            number
            for number, shard in enumerate(self.shards)
            if not all(map(is_intact, shard_paths(folder, number), shard.tokens, shard.sha256, shard.changed))
        ]


def shard_paths(folder: Path, number: int) -> tuple[Path, Path]:
    train, val = (folder / f"{split}-{number:05}.bin" for split in SPLITS)
    return train, val


def open_ids(folder: Path, index: Index, split: Split, num_shards: int) -> ShardedIds:
    """The ids of a split in the first `num_shards` shards."""
    i = SPLITS.index(split)
    files = [shard_paths(folder, number)[i] for number in range(num_shards)]
    return ShardedIds(files, [shard.tokens[i] for shard in index.shards[:num_shards]], index.dtype)
