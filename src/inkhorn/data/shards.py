"""A long text's ids on disk, in many files of one kind, read as if they were one array.

The folder has `train-00000.bin` and `val-00000.bin` (little-endian ids and nothing else) and so on, and `index.json`,
which says of each pair how many tokens, documents and bytes of text it has, its checksums, and where the reading of
documents stood after it. The index is written after the files it speaks of, so what it names is there.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from inkhorn.errors import CheckpointError, CorpusError
from inkhorn.utils.checksum import sha256_of
from inkhorn.utils.files import read_json, write_json

Array = np.ndarray[Any, Any]
PARTS = ("train", "val")
INDEX = "index.json"

_MAPPED = 128  # files at a time: each holds a descriptor, of which a process often has 1,024


class ShardedIds:
    """The ids of several files as one, each mapped into memory when it is first needed.

    Args:
        paths: of the files.
        lengths: how many ids each has.
        dtype: of an id.

    """

    def __init__(self, paths: Sequence[Path], lengths: Sequence[int], dtype: str) -> None:
        self.paths, self.dtype = list(paths), np.dtype(dtype)
        self.ends = list(accumulate(lengths))
        self._mapped: OrderedDict[int, Array] = OrderedDict()

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, where: slice) -> Array:
        """A copy of consecutive ids, across files where need be."""
        start, stop, step = where.indices(len(self))
        if step != 1:
            raise ValueError(f"only consecutive ids can be read, not every {step}th")
        pieces = []
        while start < stop:
            number = bisect_right(self.ends, start)  # a file without ids is never it
            first = self.ends[number - 1] if number else 0
            pieces.append(self._file(number)[start - first : stop - first])
            start += len(pieces[-1])
        return np.concatenate(pieces) if pieces else np.empty(0, self.dtype)

    def _file(self, number: int) -> Array:
        mapped = self._mapped.pop(number, None)
        if mapped is None:
            first = self.ends[number - 1] if number else 0
            mapped = np.memmap(self.paths[number], self.dtype, "r", shape=(self.ends[number] - first,))
        self._mapped[number] = mapped  # the last used at the end
        if len(self._mapped) > _MAPPED:
            self._mapped.popitem(last=False)
        return mapped


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One pair of files; what has two parts has them in the order of PARTS.

    Attributes:
        tokens: in each part.
        n_bytes: of text in each part, in UTF-8.
        sha256: of each file.
        changed: when each file was last written to, in ns: one that has been since is checked again.
        documents: in both parts.
        replaced: characters that the vocabulary lacked.
        after: where the reading of documents stood after the last one.

    """

    tokens: tuple[int, int]
    n_bytes: tuple[int, int]
    sha256: tuple[str, str]
    changed: tuple[int, int]
    documents: int
    replaced: int
    after: dict[str, Any]

    def content(self) -> tuple[object, ...]:
        """What a shard must have in common with one that takes its place."""
        return self.tokens, self.n_bytes, self.sha256, self.documents


@dataclass(frozen=True, kw_only=True)
class Index:
    """What `index.json` says.

    Attributes:
        dtype: of an id.
        ended: whether there are no more documents.
        shards: in order.

    """

    dtype: str
    ended: bool = False
    shards: tuple[Shard, ...] = field(default=())

    @classmethod
    def read(cls, folder: Path) -> "Index":
        """Of a folder; CheckpointError if there is none or it is damaged."""
        saved = read_json(folder / INDEX)
        try:
            shards = tuple(Shard(**_tuples(shard)) for shard in saved.pop("shards"))
            return cls(**saved, shards=shards)
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{folder / INDEX} is damaged: {error}") from None

    def write(self, folder: Path) -> None:
        """Into a folder, whole or not at all."""
        write_json(folder / INDEX, asdict(self))

    def damaged(self, folder: Path, *, verify_checksums: bool = False) -> list[int]:
        """The numbers of missing and damaged shards.

        A file with an unchanged modification time is not read, unless `verify_checksums` is set, which also finds bit
        errors of the disk.
        """
        item = np.dtype(self.dtype).itemsize
        found = []
        for number, shard in enumerate(self.shards):
            for path, tokens, sha256, changed in zip(
                paths(folder, number), shard.tokens, shard.sha256, shard.changed, strict=True
            ):
                same = path.is_file() and path.stat().st_size == tokens * item
                if not same or ((verify_checksums or path.stat().st_mtime_ns != changed) and not _is(path, sha256)):
                    found.append(number)
                    break
        return found


def _tuples(shard: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in shard.items()}


def paths(folder: Path, number: int) -> tuple[Path, Path]:
    """The two files of a shard."""
    train, val = (folder / f"{part}-{number:05}.bin" for part in PARTS)
    return train, val


def ids_of(folder: Path, index: Index, part: int, count: int) -> ShardedIds:
    """One part's ids, of the first `count` shards."""
    files = [paths(folder, number)[part] for number in range(count)]
    return ShardedIds(files, [shard.tokens[part] for shard in index.shards[:count]], index.dtype)


def _is(path: Path, sha256: str) -> bool:
    try:
        return sha256_of(path) == sha256
    except CorpusError:
        return False
