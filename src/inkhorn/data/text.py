"""A text to learn from, read in chunks: any text file or folder of them, split into training and validation.

Memory stays bounded however long the text is; what is read twice (once to count, once to use) is read twice from disk.
"""

import codecs
import difflib
import hashlib
import io
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

from inkhorn.errors import CorpusError, require
from inkhorn.tokenizer.base import END_OF_TEXT as END_OF_TEXT

TEXT_SUFFIXES = frozenset({".txt", ".text", ".md", ".rst"})
"""which files of a folder are read"""

_BLOCK = 1 << 20  # bytes of a file at a time

Pieces = Callable[[], Iterable[str]]
"""Reads a text anew, in pieces of any length."""


@dataclass(frozen=True, kw_only=True)
class TextSource:
    """A text in two parts, to train on and to validate on.

    Attributes:
        name: of the corpus or file, fit for a file name.
        pieces: reads the text.
        val_pieces: reads the validation text where it is a text of its own; else the end of the text is held out.
        val_fraction: share of the characters that are held out then, above 0 and below 0.5.

    """

    name: str
    pieces: Pieces
    val_pieces: Pieces | None = None
    val_fraction: float = 0.1

    def __post_init__(self) -> None:
        require(0 < self.val_fraction < 0.5, f"val_fraction is {self.val_fraction:g}; it must be above 0 and below 0.5")

    @cached_property
    def n_chars(self) -> int:
        """Characters of the text, validation included. The first use reads it all."""
        return sum(map(len, chain(self.pieces(), self.val_pieces() if self.val_pieces else ())))

    def train_chunks(self, chunk_chars: int = 1 << 22) -> Iterator[str]:
        """The training text in chunks of chunk_chars characters, or up to 12 more so as not to cut `<|endoftext|>`."""
        return rechunk(self._part(train=True), chunk_chars)

    def val_chunks(self, chunk_chars: int = 1 << 22) -> Iterator[str]:
        """The validation text, in such chunks."""
        return rechunk(self._part(train=False), chunk_chars)

    def sha256(self) -> str:
        """Hexadecimal checksum of both parts: another text or another split gives another one."""
        digest = hashlib.sha256()
        for chunk in self.train_chunks():
            digest.update(chunk.encode())
        digest.update(b"\0")  # in no text, so the place of the split counts
        for chunk in self.val_chunks():
            digest.update(chunk.encode())
        return digest.hexdigest()

    def _part(self, train: bool) -> Iterable[str]:
        if self.val_pieces is not None:
            return self.pieces() if train else self.val_pieces()
        # nanoGPT's rule, so that its split of tiny Shakespeare comes out to the character.
        return halves(self.pieces(), int(self.n_chars * (1 - self.val_fraction)), train)


def rechunk(pieces: Iterable[str], chunk_chars: int) -> Iterator[str]:
    """The same text in chunks of chunk_chars characters, or up to 12 more so as not to cut `<|endoftext|>`."""
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
    """The cut, or the end of the `<|endoftext|>` that it would go through."""
    around = text.find(END_OF_TEXT, max(0, cut - len(END_OF_TEXT) + 1), cut + len(END_OF_TEXT) - 1)
    return cut if around < 0 else around + len(END_OF_TEXT)


def halves(pieces: Iterable[str], cut: int, first: bool) -> Iterator[str]:
    """The text before or after character number `cut`; an `<|endoftext|>` at the cut belongs to the first half."""
    done = 0
    for chunk in rechunk(pieces, _BLOCK):  # in which every marker is whole
        here = _past_marker(chunk, cut - done) if 0 < cut - done < len(chunk) else max(0, min(cut - done, len(chunk)))
        half = chunk[:here] if first else chunk[here:]
        if half:
            yield half
        done += len(chunk)


def from_path(path: Path, *, val_fraction: float = 0.1, val_path: Path | None = None) -> TextSource:
    """A text file, or all text files of a folder (by path, with `<|endoftext|>` between them).

    Args:
        path: UTF-8; any kind of line end. Of a folder, files that end in .txt, .text, .md or .rst.
        val_fraction: share of the characters at the end that is held out for validation, above 0 and below 0.5.
        val_path: a file or folder to validate on; then all of `path` is trained on.

    Raises:
        CorpusError: nothing there, empty, or not to be read; what is not text is found out when it is read.

    """
    files, val_files = _files(path), _files(val_path) if val_path else None
    return TextSource(
        name=path.resolve().stem or "text",
        pieces=lambda: _joined(files),
        val_pieces=None if val_files is None else lambda: _joined(val_files),
        val_fraction=val_fraction,
    )


def _files(path: Path) -> list[Path]:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            next(path.iterdir(), None)  # raises what rglob would pass over
            files = [file for file in path.rglob("*") if file.suffix.lower() in TEXT_SUFFIXES and file.is_file()]
            files.sort(key=lambda file: file.relative_to(path).parts)
            if not files:
                kinds = ", ".join(sorted(TEXT_SUFFIXES))
                raise CorpusError(f"the folder {path} holds no text file ({kinds}): rename the files, or name one")
        elif stat.S_ISREG(mode):
            files = [path]
        else:
            raise CorpusError(f"{path} is not a file, and a text is read more than once: save it to one first")
        if not any(file.stat().st_size for file in files):
            raise CorpusError(f"{path} is empty (0 bytes): give a file with text")
    except FileNotFoundError:
        raise CorpusError(f"there is no {path}{_near(path)}") from None
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from None
    return files


def _near(path: Path) -> str:
    """A hint at the names beside a path that is not there."""
    try:
        beside = [other.name for other in path.resolve().parent.iterdir()]
    except OSError:
        return f": the folder {path.resolve().parent} is not there either"
    close = difflib.get_close_matches(path.name, beside, n=3)
    return f": did you mean {' or '.join(close)}?" if close else f" in {path.resolve().parent}"


def _joined(files: Iterable[Path]) -> Iterator[str]:
    for i, file in enumerate(files):
        if i:
            yield END_OF_TEXT
        yield from read_text(file)


def read_text(path: Path) -> Iterator[str]:
    """A UTF-8 file in pieces, line ends as `\\n`, without byte order mark; CorpusError if it is not text."""
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    offset, rest, block = 0, b"", b""
    try:
        with path.open("rb") as file:
            while (block := file.read(_BLOCK)) or rest:
                data = rest + block
                if (nul := data.find(b"\0")) >= 0:
                    raise CorpusError(f"{path} is not text: byte {offset + nul:,} is 0. Is it UTF-16? Save it as UTF-8")
                text, used = codecs.utf_8_decode(data, "strict", not block)
                if offset == 0:
                    text = text.removeprefix("\ufeff")
                yield newlines.decode(text)
                offset, rest = offset + used, data[used:]
            yield newlines.decode("", final=True)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise CorpusError(
            f"{path} is not UTF-8 text: byte {offset + error.start:,} is 0x{byte:02x} ({error.reason}). "
            f"Convert it, for instance with `iconv -f LATIN1 -t UTF-8`"
        ) from None
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from None
