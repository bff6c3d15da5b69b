"""Tokenized datasets on disk.

A dataset is a folder: `train.bin` and `val.bin` (little-endian token ids, memory-mapped), `pretrain.bin` if there is a
text to train on before, the files of the tokenizer, and `dataset.json`. It is built once per text and found again by
the text's checksum.
"""

import hashlib
import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from inkhorn.data.shards import ShardedIds
from inkhorn.data.text import SPLITS, TextSource
from inkhorn.errors import CheckpointError, CorpusError, TokenizerError
from inkhorn.tokenizer.base import Tokenizer
from inkhorn.tokenizer.bpe import MAX_TRAIN_CHARS, train_bpe
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.tokenizer.load import load_tokenizer
from inkhorn.utils.files import atomic_write, read_json, write_json

Array = np.ndarray[Any, Any]

PRETRAIN = "pretrain"
"""Name of the files of a text to train on before the training split."""

_EOS_SAMPLE = 1 << 24  # tokens
_MAX_EOS_INTERVAL = 20_000  # tokens
_MAX_PRETRAIN_SHARE = 8  # pretraining text that a vocabulary is learnt from, in lengths of the training text

Progress = Callable[[int], None]  # called with the number of characters processed since the last call


@dataclass(frozen=True)
class Dataset:
    """A tokenized text."""

    name: str  # of the corpus
    sha256: str  # checksum of text, split and tokenizer; a training run resumes only on the same dataset
    tokenizer: Tokenizer  # the tokenizer that encoded it
    train: Array | ShardedIds  # (n,) training token ids, memory-mapped from one file or from shards
    val: Array  # (m,) validation token ids, memory-mapped
    val_bytes: int  # length of the validation text in UTF-8
    replaced: int = 0  # number of characters outside the vocabulary that were replaced or dropped
    pretrain: Array | None = None  # (k,) ids of a text to train on before `train`, memory-mapped

    def bits_per_byte(self, loss: float) -> float:
        """Convert a validation loss in nats per token to bits per byte, which are comparable between tokenizers."""
        return loss / math.log(2) * len(self.val) / self.val_bytes

    @property
    def bos_token_id(self) -> int:
        """The token that an empty prompt starts with.

        `<|endoftext|>` if it occurs at least once per 20,000 tokens in the first 16M, often enough to learn what
        follows it; otherwise a line break, or id 0 if the vocabulary has none.
        """
        eos_id = self.tokenizer.eos_id
        sample = self.train[:_EOS_SAMPLE]
        if eos_id is not None and int((sample == eos_id).sum()) * _MAX_EOS_INTERVAL >= len(sample):
            return eos_id
        text, unknown = self.tokenizer.normalize("\n")
        ids = self.tokenizer.encode(text)
        return 0 if unknown or not len(ids) else int(ids[0])  # GPT-1's tokenizer drops line breaks

    def check_block_size(self, block_size: int, *, fixed: bool = False) -> None:
        """Raise CorpusError unless each split has at least block_size + 1 tokens.

        Args:
            block_size: context length of the model.
            fixed: the block size comes from existing weights, so the error does not suggest a smaller one.
        """
        smaller = "" if fixed else " a smaller --block-size,"
        for split, ids in (("training", self.train), ("validation", self.val)):
            if len(ids) < block_size + 1:
                raise CorpusError(
                    f"the {split} split of {self.name} has {len(ids):,} tokens, but a block size of {block_size} needs "
                    f"at least {block_size + 1}: use a longer text,{smaller} or another split"
                )
        if self.pretrain is not None and len(self.pretrain) < block_size + 1:
            raise CorpusError(
                f"the pretraining text has {len(self.pretrain):,} tokens, but a block size of {block_size} needs at "
                f"least {block_size + 1}: use a longer text{smaller and ' or' + smaller.rstrip(',')}"
            )


def tokenize_to_disk(
    source: TextSource,
    cache: Path,
    progress: Progress = lambda _: None,
    tokenizer: Tokenizer | None = None,
    *,
    bpe_size: int | None = None,
) -> Dataset:
    """Tokenize a text, or open the dataset if the cache has it. Memory use does not grow with the text.

    Reads the text once to find its checksum and alphabet, and once to encode it. Training a BPE tokenizer reads the
    training split in between.

    Args:
        cache: folder of the tokenized datasets.
        progress: called with the characters processed, except those of the first read.
        tokenizer: an existing tokenizer. Without one a character tokenizer is built from the full text.
        bpe_size: train a BPE tokenizer of this vocabulary size instead; a long text is sampled (`bpe.MAX_TRAIN_CHARS`).

    Raises:
        CorpusError: the text cannot be read or a split is empty, or the cache cannot be written.
    """
    summary = source.summary
    sha256 = summary.sha256
    if tokenizer is not None or bpe_size is not None:
        kind = tokenizer.fingerprint() if tokenizer is not None else f"bpe {bpe_size}"
        sha256 = hashlib.sha256((sha256 + kind).encode()).hexdigest()
    folder = cache / "datasets" / f"{source.name}-{sha256[:16]}"
    try:
        return _open(folder)
    except (CheckpointError, TokenizerError):
        shutil.rmtree(folder, ignore_errors=True)  # missing or incomplete

    def report(chunks: Iterable[str]) -> Iterator[str]:
        for chunk in chunks:
            yield chunk
            progress(len(chunk))

    if bpe_size is not None:
        stride = -(-summary.n_chars // MAX_TRAIN_CHARS)
        tokenizer = train_bpe(islice(report(_vocabulary_chunks(source)), 0, None, stride), bpe_size)
    elif tokenizer is None:
        # The alphabet includes the validation split: a character that occurs only there is scored, not dropped.
        tokenizer = CharTokenizer(summary.alphabet)
    try:
        with atomic_write(folder) as partial:
            partial.mkdir()
            metadata = {"name": source.name, "sha256": sha256, **_encode(source, tokenizer, partial, progress)}
            tokenizer.save(partial)
            write_json(partial / "dataset.json", metadata)
    except OSError as error:
        if not folder.is_dir():  # else another process has built the same dataset in the meantime
            raise CorpusError(f"cannot write the tokenized text to {folder}: {error}") from None
    return _open(folder)


def _vocabulary_chunks(source: TextSource) -> Iterator[str]:
    """The text that a vocabulary is learnt from.

    Only the beginning of a long pretraining text is read, so that the vocabulary fits the text itself.
    """
    n_chars = 0
    for chunk in source.train_chunks():
        n_chars += len(chunk)
        yield chunk
    left = _MAX_PRETRAIN_SHARE * n_chars
    for chunk in source.pretrain_chunks():
        yield chunk[:left]
        left -= len(chunk)
        if left <= 0:
            return


def _encode(source: TextSource, tokenizer: Tokenizer, folder: Path, progress: Progress) -> dict[str, Any]:
    """Write train.bin and val.bin, and pretrain.bin if there is such text; returns their part of dataset.json."""
    dtype = np.dtype(ids_dtype(tokenizer.vocab_size))
    names = [*SPLITS, *([PRETRAIN] if source.pretrain_pieces else [])]
    tokens, n_bytes, replaced = dict.fromkeys(names, 0), dict.fromkeys(names, 0), 0
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.bin").open("wb")) for name in names}
        pretrain = ((PRETRAIN, chunk) for chunk in source.pretrain_chunks())
        for name, chunk in chain(source.chunks(), pretrain):
            text, unknown = tokenizer.normalize(chunk)
            replaced += sum(u.count for u in unknown)
            ids = tokenizer.encode(text)
            files[name].write(ids.astype(dtype).tobytes())
            tokens[name] += len(ids)
            n_bytes[name] += len(text.encode())
            progress(len(chunk))
    for split in SPLITS:
        if replaced and not tokens[split]:
            raise CorpusError(f"the model's vocabulary has no character of {source.name} ({split} split)")
    return {"dtype": dtype.str, "tokens": tokens, "bytes": n_bytes, "replaced": replaced}


def ids_dtype(vocab_size: int) -> str:
    """The smallest unsigned dtype that holds every token id."""
    return "<u1" if vocab_size <= 1 << 8 else "<u2" if vocab_size <= 1 << 16 else "<u4"


def _open(folder: Path) -> Dataset:
    """Open a dataset; CheckpointError if it is missing or incomplete, CorpusError if a split is empty."""
    metadata = read_json(folder / "dataset.json")
    try:
        ids: dict[str, Array] = {}
        for split in metadata["tokens"]:
            n_tokens, name = metadata["tokens"][split], metadata["name"]
            if n_tokens == 0:
                raise CorpusError(f"the {split} split of {name} is empty: use a longer text or another split")
            ids[split] = np.memmap(folder / f"{split}.bin", dtype=metadata["dtype"], mode="r")
            if len(ids[split]) != n_tokens:
                raise ValueError(f"{split}.bin has {len(ids[split])} tokens, not {n_tokens}")
        return Dataset(
            name=name,
            sha256=metadata["sha256"],
            tokenizer=load_tokenizer(folder),
            train=ids["train"],
            val=ids["val"],
            val_bytes=metadata["bytes"]["val"],
            replaced=metadata["replaced"],
            pretrain=ids.get(PRETRAIN),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the tokenized text in {folder} is damaged: {error}") from None
