"""From documents to shards of ids on disk: by all cores, resumed where it broke off, checked, and mended.

One document in HOLD_OUT is held out, until there are VAL_TOKENS to validate on. `<|endoftext|>` stands before each
document, and no document lies in two shards. What comes out does not depend on breaks or on the number of processes.
"""

import hashlib
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from inkhorn.data.dataset import Dataset, ids_dtype
from inkhorn.data.documents import DocumentSource, State
from inkhorn.data.parallel_encode import encode_batches
from inkhorn.data.shards import Index, Shard, ids_of, paths
from inkhorn.errors import CheckpointError, CorpusError, TokenizerError
from inkhorn.tokenizer.base import Ids, Tokenizer
from inkhorn.tokenizer.bpe import MAX_TRAIN_CHARS, train_bpe
from inkhorn.tokenizer.load import load_tokenizer
from inkhorn.utils.files import flush

SHARD_TOKENS = 100_000_000
"""to train on in a shard, or up to a million more"""
HOLD_OUT = 20
"""one document in so many is held out"""
VAL_TOKENS = 10_485_760
"""enough to validate on"""


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """Is told of the work.

    Attributes:
        tokens: of more tokens that are there to train on, those from before among them.
        say: of what the user should read.

    """

    tokens: Callable[[int], None] = lambda _: None
    say: Callable[[str], None] = lambda _: None


def tokenize_documents(
    source: DocumentSource,
    cache: Path,
    tokenizer: Tokenizer | None = None,
    *,
    bpe_size: int | None = None,
    count: int | None = None,
    shard_tokens: int = SHARD_TOKENS,
    processes: int | None = None,
    verify_checksums: bool = False,
    callbacks: Callbacks | None = None,
) -> Dataset:
    """Tokenise documents, but for what `cache` already has of them. Memory use does not grow with their number.

    Args:
        source: the documents.
        cache: where tokenised texts are kept.
        tokenizer: makes the ids.
        bpe_size: instead of one: learn so many tokens, from the first `bpe.MAX_TRAIN_CHARS` characters.
        count: of shards, at most; all of the documents when absent.
        shard_tokens: to train on in each, or a batch of documents more.
        processes: how many encode; as many as there are cores when absent. The result is the same.
        verify_checksums: read again what was written, though nothing has touched it since.
        callbacks: is told.

    Raises CorpusError where the documents cannot be had or the disk is full; what is done stays, to go on from.

    """
    callbacks = callbacks or Callbacks()
    kind = f"bpe {bpe_size}" if tokenizer is None else tokenizer.fingerprint()
    rules = f"{source.key} {shard_tokens} {HOLD_OUT} {VAL_TOKENS} {kind}"
    folder = cache / "datasets" / f"{source.name}-{hashlib.sha256(rules.encode()).hexdigest()[:16]}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        from filelock import FileLock  # of `datasets`; a second process waits, and then finds it done

        with FileLock(folder.with_suffix(".lock")):
            index, tokenizer = _begun(folder, source, tokenizer, bpe_size)
            builder = _Builder(source, tokenizer, folder, shard_tokens, processes, callbacks)
            index = builder.repair(index, verify_checksums=verify_checksums)
            index = builder.build(index, count)
    except OSError as error:
        raise CorpusError(
            f"cannot write the tokenised text to {folder}: {error.strerror}. What is done is kept; "
            "free some space there, or set INKHORN_CACHE to another folder"
        ) from None
    return _dataset(source, folder, index, tokenizer, len(index.shards) if count is None else count)


def _begun(
    folder: Path, source: DocumentSource, tokenizer: Tokenizer | None, bpe_size: int | None
) -> tuple[Index, Tokenizer]:
    """What there is already, or an index without shards and its tokenizer."""
    with suppress(CheckpointError, TokenizerError):
        return Index.read(folder), load_tokenizer(folder)
    shutil.rmtree(folder, ignore_errors=True)
    if tokenizer is None:
        if bpe_size is None:
            raise CorpusError(
                f"{source.name} is in many characters, too many for one token each: add --tokenizer gpt2, "
                "or --tokenizer bpe --vocab-size 4096"
            )
        tokenizer = train_bpe(_first(source, MAX_TRAIN_CHARS), bpe_size)
    folder.mkdir(parents=True)
    tokenizer.save(folder)
    index = Index(dtype=ids_dtype(tokenizer.vocab_size))
    index.write(folder)
    return index, tokenizer


def _first(source: DocumentSource, characters: int) -> Iterator[str]:
    """The first documents, of so many characters together or a few more."""
    with closing(source.batches({})) as batches:
        for batch in batches:
            yield from batch.texts
            characters -= sum(map(len, batch.texts))
            if characters <= 0:
                return


def _dataset(source: DocumentSource, folder: Path, index: Index, tokenizer: Tokenizer, count: int) -> Dataset:
    shards = index.shards[:count]
    train, val = ids_of(folder, index, 0, len(shards)), ids_of(folder, index, 1, len(shards))
    for part, ids in (("train", train), ("val", val)):
        if not len(ids):
            raise CorpusError(f"the {part} part of {source.name} is empty: it needs more documents")
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


class _Builder:
    def __init__(
        self,
        source: DocumentSource,
        tokenizer: Tokenizer,
        folder: Path,
        shard_tokens: int,
        processes: int | None,
        callbacks: Callbacks,
    ) -> None:
        self.source, self.tokenizer, self.folder, self.callbacks = source, tokenizer, folder, callbacks
        self.shard_tokens, self.processes = shard_tokens, processes

    def repair(self, index: Index, *, verify_checksums: bool) -> Index:
        """Each damaged shard built again; CorpusError if the documents are no longer those that it was made of."""
        for number in index.damaged(self.folder, verify_checksums=verify_checksums):
            self.callbacks.say(f"shard {number} of {self.source.name} is damaged: it is built again")
            with closing(self._shards(index.shards[:number], silent=True)) as shards:
                again = next(shards, None)
            if again is None or again.content() != index.shards[number].content():
                raise CorpusError(
                    f"shard {number} of {self.source.name} came out otherwise than before: the documents have changed "
                    f"since. Delete {self.folder} to begin anew"
                )
            index = replace(index, shards=(*index.shards[:number], again, *index.shards[number + 1 :]))
            index.write(self.folder)
        return index

    def build(self, index: Index, count: int | None) -> Index:
        """The shards up to number `count`, or all, built after those that are there."""
        self.callbacks.tokens(sum(shard.tokens[0] for shard in index.shards[:count]))
        missing = None if count is None else max(0, count - len(index.shards))
        if index.ended or missing == 0:
            return index
        built = 0
        with closing(self._shards(index.shards)) as shards:
            for shard in islice(shards, missing):
                built += 1
                index = replace(index, shards=(*index.shards, shard))
                index.write(self.folder)
        if missing is None or built < missing:
            index = replace(index, ended=True)
            index.write(self.folder)
        return index

    def _shards(self, before: Sequence[Shard], *, silent: bool = False) -> Generator[Shard, None, None]:
        """The shards that follow some others; each is on the disk when it comes."""
        number, held = len(before), sum(shard.tokens[1] for shard in before)
        documents = sum(shard.documents for shard in before)
        after: State = before[-1].after if before else {}
        batches = ((batch.after, batch.texts) for batch in self.source.batches(after))
        pair: ShardWriter | None = None
        with closing(encode_batches(self.tokenizer, batches, self.processes)) as encoded_batches:
            for after, encoded in encoded_batches:
                pair = pair or ShardWriter(self.folder, number, self.tokenizer)
                for ids, n_bytes in zip(encoded.ids, encoded.n_bytes, strict=True):
                    hold_out = documents % HOLD_OUT == 0 and held < VAL_TOKENS
                    pair.add(ids, n_bytes, hold_out=hold_out)
                    documents, held = documents + 1, held + (pair.length(ids) if hold_out else 0)
                pair.replaced += encoded.replaced
                more = pair.flush()
                if not silent:
                    self.callbacks.tokens(more)
                if pair.tokens[0] >= self.shard_tokens:
                    yield pair.close(after)
                    pair, number = None, number + 1
        if pair is not None:
            yield pair.close(after)


class ShardWriter:
    """The two files of a shard while they are written."""

    def __init__(self, folder: Path, number: int, tokenizer: Tokenizer) -> None:
        self.paths = paths(folder, number)
        self.partial = tuple(path.with_suffix(".tmp") for path in self.paths)
        self.dtype = np.dtype(ids_dtype(tokenizer.vocab_size))
        self.end = np.array([] if tokenizer.eos_id is None else [tokenizer.eos_id], np.int32)
        self.digests = (hashlib.sha256(), hashlib.sha256())
        self.tokens, self.n_bytes, self.documents, self.replaced = [0, 0], [0, 0], 0, 0
        self.waiting: tuple[list[Ids], list[Ids]] = ([], [])
        for path in self.partial:
            path.write_bytes(b"")

    def add(self, ids: Ids, n_bytes: int, *, hold_out: bool) -> None:
        """A document."""
        self.waiting[hold_out].extend((self.end, ids))
        self.n_bytes[hold_out] += n_bytes
        self.documents += 1

    def length(self, ids: Ids) -> int:
        """Tokens of a document with what stands before it."""
        return len(self.end) + len(ids)

    def flush(self) -> int:
        """Write what waits; returns how many tokens to train on were among it."""
        before = self.tokens[0]
        for part, waiting in enumerate(self.waiting):
            if waiting:
                data = np.concatenate(waiting).astype(self.dtype).tobytes()
                with self.partial[part].open("ab") as file:
                    file.write(data)
                self.digests[part].update(data)
                self.tokens[part] += len(data) // self.dtype.itemsize
                waiting.clear()
        return self.tokens[0] - before

    def close(self, after: State) -> Shard:
        """Put the files in their place."""
        for partial, path in zip(self.partial, self.paths, strict=True):
            flush(partial)
            partial.replace(path)
        train, val = self.paths
        return Shard(
            tokens=(self.tokens[0], self.tokens[1]),
            n_bytes=(self.n_bytes[0], self.n_bytes[1]),
            sha256=(self.digests[0].hexdigest(), self.digests[1].hexdigest()),
            changed=(train.stat().st_mtime_ns, val.stat().st_mtime_ns),
            documents=self.documents,
            replaced=self.replaced,
            after=after,
        )
