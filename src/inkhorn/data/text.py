"""Text read in chunks: any text file, or all text files of a folder, split into training and validation.

Memory use does not grow with the text. Every iteration reads the text from disk again.
"""

import difflib
import hashlib
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from inkhorn.data.text_file import COMPRESSED_SUFFIXES, check_encoding, read_text
from inkhorn.errors import CorpusError, require
from inkhorn.tokenizer.base import END_OF_TEXT

TEXT_SUFFIXES = frozenset({".txt", ".text", ".md", ".rst"})  # suffixes of the files that are read from a folder

CHUNK_CHARS = 1 << 22

_BLOCK = 1 << 20  # bytes of a file read at a time
_SCAN_CHARS = 1 << 16
_ASCII = bytes(range(128))

Pieces = Callable[[], Iterable[str]]  # starts a new read of a text, in pieces of any length

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class TextSummary:
    """Properties of a text, found in one read."""

    sha256: str  # hexadecimal checksum of the text and of where it is split
    n_chars: int  # number of characters, validation and pretraining text included
    n_train: int  # number of characters before the split; a marker across the split is added to the training text
    splits_sha256: str  # checksum of the two splits alone, joined, by which a second read is compared
    alphabet: frozenset[str]  # all characters, except those that occur only in `<|endoftext|>`


@dataclass(frozen=True, kw_only=True)
class TextSource:
    """A text with a training and a validation split."""

    name: str  # of the corpus or file; used as a file name
    pieces: Pieces  # reads the text
    val_pieces: Pieces | None = None  # reads a separate validation text; without it the end of the text is held out
    val_fraction: float = 0.1  # fraction of the characters to hold out, above 0 and below 0.5
    pretrain_pieces: Pieces | None = None  # reads a text to train on before this one

    def __post_init__(self) -> None:
        require(0 < self.val_fraction < 0.5, f"val_fraction is {self.val_fraction:g}; it must be above 0 and below 0.5")

    @cached_property
    def summary(self) -> TextSummary:
        """Checksum, length and alphabet. The first access reads the text once."""
        digest, splits, alphabet, ascii_seen = hashlib.sha256(), hashlib.sha256(), set[str](), b""
        n_chars = n_train = 0
        n_pretrain = 0
        for pieces in filter(None, (self.pretrain_pieces, self.pieces, self.val_pieces)):
            if pieces is self.pieces and self.pretrain_pieces is not None:
                n_pretrain = n_chars
                digest.update(b"\0pretrain\0")  # NUL is never part of a text
            if pieces is self.val_pieces:
                n_train = n_chars - n_pretrain
                digest.update(b"\0")
            for chunk in rechunk(pieces(), _SCAN_CHARS):
                n_chars += len(chunk)
                data = chunk.encode()
                digest.update(data)
                if pieces is not self.pretrain_pieces:
                    splits.update(data)
                if END_OF_TEXT in chunk:
                    data = chunk.replace(END_OF_TEXT, "").encode()
                unseen = data.translate(None, ascii_seen)  # several times as fast as set(chunk) for most texts
                if unseen:
                    alphabet.update(unseen.decode())
                    ascii_seen = bytes(code for code in _ASCII if chr(code) in alphabet)
        if self.val_pieces is None:
            n_train = int((n_chars - n_pretrain) * (1 - self.val_fraction))  # nanoGPT's rule
            digest.update(b"\0%d" % n_train)
        return TextSummary(digest.hexdigest(), n_chars, n_train, splits.hexdigest(), frozenset(alphabet))

    def chunks(self, chunk_chars: int = CHUNK_CHARS) -> Iterator[tuple[Split, str]]:
        """Read both splits, training first, in chunks of chunk_chars characters.

        A chunk is up to 12 characters longer where its end would cut an `<|endoftext|>`. Raises CorpusError at the end
        if the text is no longer the one that `summary` has read.
        """
        expected = self.summary
        digest = hashlib.sha256()
        for split, pieces in zip(SPLITS, self._splits(), strict=True):
            for chunk in rechunk(pieces, chunk_chars):
                digest.update(chunk.encode())
                yield split, chunk
        if digest.hexdigest() != expected.splits_sha256:
            raise CorpusError(f"the text {self.name} changed while it was read: run the command again")

    def train_chunks(self, chunk_chars: int = CHUNK_CHARS) -> Iterator[str]:
        """Read the training split, in the same chunks."""
        return rechunk(self._splits()[0], chunk_chars)

    def val_chunks(self, chunk_chars: int = CHUNK_CHARS) -> Iterator[str]:
        """Read the validation split, in the same chunks."""
        return rechunk(self._splits()[1], chunk_chars)

    def pretrain_chunks(self, chunk_chars: int = CHUNK_CHARS) -> Iterator[str]:
        """Read the pretraining text, in the same chunks; nothing if there is none."""
        return rechunk(self.pretrain_pieces() if self.pretrain_pieces else (), chunk_chars)

    def _splits(self) -> tuple[Iterable[str], Iterable[str]]:
        if self.val_pieces is not None:
            return self.pieces(), self.val_pieces()
        return split_at(self.pieces(), self.summary.n_train)


def rechunk(pieces: Iterable[str], chunk_chars: int) -> Iterator[str]:
    """The same text in chunks of chunk_chars characters, or up to 12 more to keep each `<|endoftext|>` in one chunk."""
    require(chunk_chars > 0, f"chunk_chars is {chunk_chars}; it must be at least 1")
    waiting = ""
    for piece in pieces:
        waiting += piece
        start = 0
        while len(waiting) - start >= chunk_chars + len(END_OF_TEXT):
            end = _past_marker(waiting, start + chunk_chars)
            yield waiting[start:end]
            start = end
        waiting = waiting[start:]
    while waiting:
        end = _past_marker(waiting, chunk_chars)
        yield waiting[:end]
        waiting = waiting[end:]


def _past_marker(text: str, cut: int) -> int:
    """The cut, moved to the end of an `<|endoftext|>` that contains it."""
    around = text.find(END_OF_TEXT, max(0, cut - len(END_OF_TEXT) + 1), cut + len(END_OF_TEXT) - 1)
    return cut if around < 0 else around + len(END_OF_TEXT)


def split_at(pieces: Iterable[str], cut: int) -> tuple[Iterator[str], Iterator[str]]:
    """The text before and after character number `cut`, from one read; reading the second part ends the first.

    An `<|endoftext|>` across the cut belongs to the first part.
    """
    chunks = rechunk(pieces, _BLOCK)
    remainder: list[str] = []

    def before() -> Iterator[str]:
        left = cut
        for chunk in chunks:
            if left < len(chunk):
                end = _past_marker(chunk, left) if left else 0
                remainder.append(chunk[end:])
                yield chunk[:end]
                return
            yield chunk
            left -= len(chunk)

    def after() -> Iterator[str]:
        deque(first, maxlen=0)  # reads what was not read yet
        yield from remainder
        yield from chunks

    first = before()
    return first, after()


def from_path(
    path: Path,
    *,
    val_fraction: float = 0.1,
    val_path: Path | None = None,
    pretrain_path: Path | None = None,
    encoding: str | None = None,
) -> TextSource:
    """A text file, or all text files of a folder, sorted by path and joined by `<|endoftext|>`.

    Args:
        path: text with any line endings. In a folder, files with the suffixes .txt, .text, .md and .rst are read. Each
            file may be compressed (.gz, .bz2, .xz, .zst).
        val_fraction: fraction of the characters at the end to hold out, above 0 and below 0.5.
        val_path: a file or folder to validate on instead; then all of `path` is training text.
        pretrain_path: a file or folder to train on before.
        encoding: of the files, by default UTF-8. A byte order mark takes precedence.

    Raises:
        CorpusError: the path is missing, empty or unreadable. A wrong encoding raises it when the text is read.
        UsageError: the encoding does not exist.
    """
    if encoding is not None:
        check_encoding(encoding)
    files, val_files = _files(path), _files(val_path) if val_path else None
    pretrain_files = _files(pretrain_path) if pretrain_path else None
    return TextSource(
        name=_without_compression(path.resolve()).stem or "text",
        pieces=lambda: _joined(files, encoding),
        val_pieces=None if val_files is None else lambda: _joined(val_files, encoding),
        val_fraction=val_fraction,
        pretrain_pieces=None if pretrain_files is None else lambda: _joined(pretrain_files, encoding),
    )


def _without_compression(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() in COMPRESSED_SUFFIXES else path


def _is_text(path: Path) -> bool:
    return _without_compression(path).suffix.lower() in TEXT_SUFFIXES and path.is_file()


def _files(path: Path) -> list[Path]:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            next(path.iterdir(), None)  # raises the errors that rglob ignores
            files = [file for file in path.rglob("*") if _is_text(file)]
            files.sort(key=lambda file: file.relative_to(path).parts)
            if not files:
                kinds = ", ".join(sorted(TEXT_SUFFIXES))
                raise CorpusError(f"the folder {path} has no text file ({kinds}): rename the files, or give one file")
        elif stat.S_ISREG(mode):
            files = [path]
        else:
            raise CorpusError(f"{path} is not a regular file, and the text is read twice: save it to a file first")
        if not any(file.stat().st_size for file in files):
            raise CorpusError(f"{path} is empty (0 bytes): give a file that has text")
    except FileNotFoundError:
        raise CorpusError(f"there is no {path}{_near(path)}") from None
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from None
    return files


def _near(path: Path) -> str:
    """A hint for a missing path: similar names in its folder."""
    try:
        siblings = [other.name for other in path.resolve().parent.iterdir()]
    except OSError:
        return f": the folder {path.resolve().parent} does not exist"
    close = difflib.get_close_matches(path.name, siblings, n=3)
    return f": did you mean {' or '.join(close)}?" if close else f" in {path.resolve().parent}"


def _joined(files: Iterable[Path], encoding: str | None) -> Iterator[str]:
    for i, file in enumerate(files):
        if i:
            yield END_OF_TEXT
        yield from read_text(file, encoding)
