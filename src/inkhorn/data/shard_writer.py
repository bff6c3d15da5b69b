"""Tokenize documents into shards: in parallel, resumable, checked and repaired.

One document in VAL_INTERVAL is held out, until the validation split has VAL_TOKENS tokens. `<|endoftext|>` precedes
each document, and no document spans two shards. The result depends neither on interruptions nor on the number of
processes.
"""

import hashlib
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from inkhorn.data.dataset import Dataset, Progress, ids_dtype
from inkhorn.data.documents import DocumentSource, ReaderState
from inkhorn.data.parallel_encode import EncodedBatch, encode_batches
from inkhorn.data.shards import Index, Shard, open_ids, shard_paths
from inkhorn.errors import CheckpointError, CorpusError, TokenizerError
from inkhorn.tokenizer.base import Ids, Tokenizer
from inkhorn.tokenizer.bpe import MAX_TRAIN_CHARS, train_bpe
from inkhorn.tokenizer.load import load_tokenizer
from inkhorn.utils.files import fsync

SHARD_TOKENS = 100_000_000  # training tokens of a shard; it ends with the first batch of documents that reaches them
VAL_INTERVAL = 20  # one document in so many is held out
VAL_TOKENS = 10_485_760  # size of the validation split

Encoder = Callable[
    [DocumentSource, Tokenizer, ReaderState, Callable[[str], None]],
    Generator[tuple[ReaderState, EncodedBatch], None, None],
]
"""Encodes the documents of a source from a state of its reader on, in batches, each with the state after it. The last
argument is called with messages for the user."""


def tokenize_documents(
    source: DocumentSource,
    cache: Path,
    progress: Progress = lambda _: None,
    tokenizer: Tokenizer | None = None,
    *,
    bpe_size: int | None = None,
    shard_tokens: int = SHARD_TOKENS,
    processes: int | None = None,
    encoder: Encoder | None = None,
    verify_checksums: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Dataset:
    """Tokenize documents, except those that the cache has. Memory use does not grow with their number.

    Args:
        cache: folder of the tokenized datasets.
        progress: called with the number of new training tokens; the first call counts those of earlier runs.
        tokenizer: an existing tokenizer.
        bpe_size: train a BPE tokenizer of this vocabulary size on the first `bpe.MAX_TRAIN_CHARS` characters instead.
        shard_tokens: training tokens of a shard; it ends with the first batch of documents that reaches them.
        processes: number of encoding processes, by default one per core.
        encoder: encodes the documents instead of these processes, with the same result.
        verify_checksums: read all cached shards again and compare their checksums.
        log: called with messages for the user.

    Raises:
        CorpusError: the documents cannot be read or the disk is full. Finished shards are kept.
    """
    kind = f"bpe {bpe_size}" if tokenizer is None else tokenizer.fingerprint()
    rules = f"{source.key} {shard_tokens} {VAL_INTERVAL} {VAL_TOKENS} {kind}"
    folder = cache / "datasets" / f"{source.name}-{hashlib.sha256(rules.encode()).hexdigest()[:16]}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        from filelock import FileLock  # comes with `datasets`; a second process waits and then finds the dataset

        with FileLock(folder.with_suffix(".lock")):
            index, tokenizer = _open_or_create(folder, source, tokenizer, bpe_size)
            encoder = encoder or _here(processes)
            builder = _DatasetBuilder(source, tokenizer, folder, shard_tokens, encoder, progress, log)
            index = builder.repair(index, verify_checksums=verify_checksums)
            index = builder.build(index)
    except OSError as error:
        raise CorpusError(
            f"cannot write the tokenized text to {folder}: {error.strerror}. Finished shards are kept; "
            "free some disk space, or set INKHORN_CACHE to another folder"
        ) from None
    return _dataset(source, folder, index, tokenizer)


def _open_or_create(
    folder: Path, source: DocumentSource, tokenizer: Tokenizer | None, bpe_size: int | None
) -> tuple[Index, Tokenizer]:
    """The index and tokenizer of an existing folder, or of a new one without shards."""
    with suppress(CheckpointError, TokenizerError):
        return Index.read(folder), load_tokenizer(folder)
    shutil.rmtree(folder, ignore_errors=True)
    if tokenizer is None:
        if bpe_size is None:
            raise CorpusError(
                f"{source.name} has too many different characters for a character tokenizer: add --tokenizer gpt2, "
                "or --tokenizer bpe --vocab-size 4096"
            )
        tokenizer = train_bpe(_first_texts(source, MAX_TRAIN_CHARS), bpe_size)
    folder.mkdir(parents=True)
    tokenizer.save(folder)
    index = Index(dtype=ids_dtype(tokenizer.vocab_size))
    index.write(folder)
    return index, tokenizer


def _first_texts(source: DocumentSource, n_chars: int) -> Iterator[str]:
    """The first documents, until they have n_chars characters."""
    with closing(source.batches({})) as batches:
        for _, texts in batches:
            yield from texts
            n_chars -= sum(map(len, texts))
            if n_chars <= 0:
                return


def _dataset(source: DocumentSource, folder: Path, index: Index, tokenizer: Tokenizer) -> Dataset:
    shards = index.shards[: source.num_shards]
    train = open_ids(folder, index, "train", len(shards))
    val = open_ids(folder, index, "val", len(shards))
    for split, ids in (("train", train), ("val", val)):
        if not len(ids):
            raise CorpusError(f"the {split} split of {source.name} is empty: it needs more documents")
    content = "".join(sha256 for shard in shards for sha256 in shard.sha256) + tokenizer.fingerprint()
    return Dataset(
        name=source.name,
        sha256=hashlib.sha256(content.encode()).hexdigest(),
        tokenizer=tokenizer,
        train=train,
        val=val[:],
        val_bytes=sum(shard.n_bytes[1] for shard in shards),
        replaced=sum(shard.replaced for shard in shards),
    )


def _here(processes: int | None) -> Encoder:
    """Encode in processes of this machine."""

    def encode(
        source: DocumentSource, tokenizer: Tokenizer, state: ReaderState, log: Callable[[str], None]
    ) -> Generator[tuple[ReaderState, EncodedBatch], None, None]:
        yield from encode_batches(tokenizer, source.batches(state, log), processes)

    return encode


@dataclass(frozen=True)
class _DatasetBuilder:
    source: DocumentSource
    tokenizer: Tokenizer
    folder: Path
    shard_tokens: int
    encoder: Encoder
    progress: Progress
    log: Callable[[str], None]

    def repair(self, index: Index, *, verify_checksums: bool) -> Index:
        """Rebuild damaged shards; CorpusError if the documents have changed since they were built."""
        for number in index.damaged(self.folder, verify_checksums=verify_checksums):
            self.log(f"shard {number} of {self.source.name} is damaged: rebuilding it")
            with closing(self._shards(index.shards[:number], silent=True)) as shards:
                rebuilt = next(shards, None)
            if rebuilt is None or rebuilt.content() != index.shards[number].content():
                raise CorpusError(
                    f"the rebuilt shard {number} of {self.source.name} differs from the original: the documents have "
                    f"changed. Delete {self.folder} to tokenize them again"
                )
            index = replace(index, shards=(*index.shards[:number], rebuilt, *index.shards[number + 1 :]))
            index.write(self.folder)
        return index

    def build(self, index: Index) -> Index:
        """Build the missing shards."""
        num_shards = self.source.num_shards
        self.progress(sum(shard.tokens[0] for shard in index.shards[:num_shards]))
        missing = None if num_shards is None else max(0, num_shards - len(index.shards))
        if index.ended or missing == 0:
            return index
        with closing(self._shards(index.shards)) as shards:
            for shard in islice(shards, missing):
                index = replace(index, shards=(*index.shards, shard))
                index.write(self.folder)
        if num_shards is None or len(index.shards) < num_shards:
            index = replace(index, ended=True)
            index.write(self.folder)
        return index

    def _shards(self, previous: Sequence[Shard], *, silent: bool = False) -> Generator[Shard, None, None]:
        """Write the shards that follow `previous`; each is yielded when it is on disk."""
        number, val_tokens = len(previous), sum(shard.tokens[1] for shard in previous)
        documents = sum(shard.documents for shard in previous)
        state: ReaderState = previous[-1].after if previous else {}
        writer: ShardWriter | None = None
        log = (lambda _: None) if silent else self.log
        with closing(self.encoder(self.source, self.tokenizer, state, log)) as encoded_batches:
            for state, encoded in encoded_batches:
                writer = writer or ShardWriter(self.folder, number, self.tokenizer)
                for ids, n_bytes in zip(encoded.ids, encoded.n_bytes, strict=True):
                    hold_out = documents % VAL_INTERVAL == 0 and val_tokens < VAL_TOKENS
                    length = writer.add(ids, n_bytes, hold_out=hold_out)
                    documents, val_tokens = documents + 1, val_tokens + (length if hold_out else 0)
                writer.replaced += encoded.replaced
                new_tokens = writer.flush()
                if not silent:
                    self.progress(new_tokens)
                if writer.tokens[0] >= self.shard_tokens:
                    yield writer.close(state)
                    writer, number = None, number + 1
        if writer is not None:
            yield writer.close(state)


class ShardWriter:
    """Writes the two files of a shard under temporary names, and renames them when they are complete."""

    def __init__(self, folder: Path, number: int, tokenizer: Tokenizer) -> None:
        self.paths = shard_paths(folder, number)
        self.partial = tuple(path.with_suffix(".tmp") for path in self.paths)
        self.dtype = np.dtype(ids_dtype(tokenizer.vocab_size))
        self.separator = np.array([] if tokenizer.eos_id is None else [tokenizer.eos_id], np.int32)
        self.digests = (hashlib.sha256(), hashlib.sha256())
        self.tokens, self.n_bytes, self.documents, self.replaced = [0, 0], [0, 0], 0, 0
        self.buffers: tuple[list[Ids], list[Ids]] = ([], [])
        for path in self.partial:
            path.write_bytes(b"")

    def add(self, ids: Ids, n_bytes: int, *, hold_out: bool) -> int:
        """Add a document; returns its number of tokens, separator included."""
        self.buffers[hold_out].extend((self.separator, ids))
        self.n_bytes[hold_out] += n_bytes
        self.documents += 1
        return len(self.separator) + len(ids)

    def flush(self) -> int:
        """Write the buffers; returns the number of new training tokens."""
        before = self.tokens[0]
        for split, buffer in enumerate(self.buffers):
            if buffer:
                data = np.concatenate(buffer).astype(self.dtype).tobytes()
                with self.partial[split].open("ab") as file:
                    file.write(data)
                self.digests[split].update(data)
                self.tokens[split] += len(data) // self.dtype.itemsize
                buffer.clear()
        return self.tokens[0] - before

    def close(self, after: ReaderState) -> Shard:
        """Rename the files to their final names."""
        for partial, path in zip(self.partial, self.paths, strict=True):
            fsync(partial)
            partial.replace(path)
        return Shard(
            tokens=self.tokens,
            n_bytes=self.n_bytes,
            sha256=[digest.hexdigest() for digest in self.digests],
            changed=[path.stat().st_mtime_ns for path in self.paths],
            documents=self.documents,
            replaced=self.replaced,
            after=after,
        )
