"""Token ids on disk, and batches of them in an order that is a pure function of (seed, step).

A dataset is a folder: `train.bin` and `val.bin` (little-endian ids, mapped into memory, never read whole), the
tokenizer that made them, and `dataset.json`. It is built once for a text and found again by the text's checksum.
"""

import hashlib
import math
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from inkhorn.data.shards import ShardedIds
from inkhorn.data.text import TextSource
from inkhorn.errors import CheckpointError, CorpusError, TokenizerError
from inkhorn.tokenizer.base import Tokenizer
from inkhorn.tokenizer.bpe import MAX_TRAIN_CHARS, train_bpe
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.tokenizer.load import load_tokenizer
from inkhorn.utils.files import read_json, write_json

Array = np.ndarray[Any, Any]

PARTS = ("train", "val")

_BEGIN = 1 << 24  # tokens that say how often a text ends

Progress = Callable[[int], None]
"""Told how many more characters have been done."""


@dataclass(frozen=True)
class Dataset:
    """A tokenised text.

    Attributes:
        name: the corpus.
        sha256: of the text, split and vocabulary; a run resumes only on the same one.
        tokenizer: made the ids.
        train: (n,) ids to learn from, mapped; in one file, or in many.
        val: (m,) ids held out, mapped.
        val_bytes: length of what is held out, in UTF-8.
        replaced: characters of the text that a given vocabulary lacked.

    """

    name: str
    sha256: str
    tokenizer: Tokenizer
    train: Array | ShardedIds
    val: Array
    val_bytes: int
    replaced: int = 0

    def bits_per_byte(self, loss: float) -> float:
        """A loss on what is held out, in nats per token, as bits per byte: so do vocabularies compare."""
        return loss / math.log(2) * len(self.val) / self.val_bytes

    @property
    def bos_token_id(self) -> int:
        """What an empty prompt starts from: `<|endoftext|>` if there is enough of it to learn what follows it, once in
        20,000 tokens at the beginning; else a line break; else id 0."""
        end = self.tokenizer.eos_id
        begin = self.train[:_BEGIN]
        if end is not None and int((begin == end).sum()) * 20_000 >= len(begin):
            return end
        fitted, unknown = self.tokenizer.normalize("\n")
        ids = self.tokenizer.encode(fitted)
        return 0 if unknown or not len(ids) else int(ids[0])  # GPT-1's drops a line break

    def check_block_size(self, block_size: int, *, fixed: bool = False) -> None:
        """CorpusError unless each half holds a window of block_size tokens and the token after it.

        Where the block is `fixed`, by weights that exist, a smaller one is not advised.
        """
        smaller = "" if fixed else " a smaller --block-size,"
        for part, ids in (("training", self.train), ("validation", self.val)):
            if len(ids) < block_size + 1:
                raise CorpusError(
                    f"the {part} part of {self.name} has {len(ids):,} tokens, but a block of {block_size} needs at "
                    f"least {block_size + 1}: use a longer text,{smaller} or another split"
                )


def tokenize_to_disk(
    source: TextSource,
    cache: Path,
    progress: Progress = lambda _: None,
    tokenizer: Tokenizer | None = None,
    *,
    bpe_size: int | None = None,
) -> Dataset:
    """Tokenise a text, unless `cache` already has it. Memory use does not grow with the text.

    Reads the text for its checksum, for its alphabet if need be, and to encode it.
    Raises CorpusError for one that cannot be used.

    Args:
        source: the text.
        cache: where tokenised texts are kept.
        progress: is told of the characters done.
        tokenizer: of a model that is to learn the text, which is made to fit it; without one, a token is a character.
        bpe_size: instead, train a BPE with this vocabulary size; a long text is sampled (`bpe.MAX_TRAIN_CHARS`).

    """
    sha256 = source.sha256()
    kind = tokenizer.fingerprint() if tokenizer is not None else f"bpe {bpe_size}" if bpe_size is not None else None
    if kind is not None:
        sha256 = hashlib.sha256((sha256 + kind).encode()).hexdigest()
    folder = cache / "datasets" / f"{source.name}-{sha256[:16]}"
    try:
        return _open(folder)
    except (CheckpointError, TokenizerError):
        shutil.rmtree(folder, ignore_errors=True)  # not there yet, or not whole

    def counted(chunks: Iterable[str]) -> Iterator[str]:
        for chunk in chunks:
            yield chunk
            progress(len(chunk))

    if bpe_size is not None:
        every = -(-source.n_chars // MAX_TRAIN_CHARS)  # of a very long text one chunk in so many
        tokenizer = train_bpe(islice(counted(source.train_chunks()), 0, None, every), bpe_size)
    # The alphabet is the whole text's: a validation character that was never trained is still scored, not skipped.
    if tokenizer is None:
        tokenizer = CharTokenizer.from_chunks(
            chunk for part in (source.train_chunks(), source.val_chunks()) for chunk in counted(part)
        )
    partial = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.tmp")
    replaced, n_bytes = 0, dict.fromkeys(PARTS, 0)
    try:
        partial.mkdir(parents=True)
        dtype = np.dtype(ids_dtype(tokenizer.vocab_size))
        for part, chunks in (("train", source.train_chunks()), ("val", source.val_chunks())):
            with (partial / f"{part}.bin").open("wb") as file:
                for chunk in counted(chunks):
                    fitted, unknown = tokenizer.normalize(chunk)
                    replaced += sum(u.count for u in unknown)
                    n_bytes[part] += len(fitted.encode())
                    file.write(tokenizer.encode(fitted).astype(dtype).tobytes())
                if replaced and not file.tell():
                    raise CorpusError(f"none of the characters of {source.name} ({part}) is in the model's vocabulary")
        tokenizer.save(partial)
        tokens = {part: (partial / f"{part}.bin").stat().st_size // dtype.itemsize for part in PARTS}
        facts: dict[str, Any] = {"name": source.name, "sha256": sha256, "dtype": dtype.str}
        facts |= {"tokens": tokens, "bytes": n_bytes, "replaced": replaced}
        write_json(partial / "dataset.json", facts)
        with suppress(OSError):  # another process may have built the same just now: then its folder will do
            partial.rename(folder)
        if folder.is_dir():
            return _open(folder)
        raise CorpusError(f"cannot rename {partial} to {folder}")
    except OSError as error:
        raise CorpusError(f"cannot write the tokenised text to {folder}: {error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def ids_dtype(vocab_size: int) -> str:
    """The smallest dtype that holds every id."""
    return "<u1" if vocab_size <= 1 << 8 else "<u2" if vocab_size <= 1 << 16 else "<u4"


def _open(folder: Path) -> Dataset:
    """A dataset on disk; CheckpointError if it is not there or not whole, CorpusError if a part has no text."""
    meta = read_json(folder / "dataset.json")
    try:
        ids = []
        for part in PARTS:
            if meta["tokens"][part] == 0:
                raise CorpusError(f"the {part} part of {meta['name']} is empty: use a longer text or another split")
            mapped = np.memmap(folder / f"{part}.bin", dtype=meta["dtype"], mode="r")
            if len(mapped) != meta["tokens"][part]:
                raise ValueError(f"{part}.bin has {len(mapped)} tokens, not {meta['tokens'][part]}")
            ids.append(mapped)
        train, val = ids
        tokenizer, n_bytes = load_tokenizer(folder), meta["bytes"]["val"]
        return Dataset(meta["name"], meta["sha256"], tokenizer, train, val, n_bytes, meta["replaced"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the tokenised text in {folder} is damaged: {error}") from None
