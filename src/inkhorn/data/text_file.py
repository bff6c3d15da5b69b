"""Read a text file in pieces: compressed or not, in UTF-8 or in the encoding that a byte order mark or a flag names."""

import codecs
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from inkhorn.data.remote_file import RemoteFile
from inkhorn.errors import CorpusError, UsageError

COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst")

_BLOCK = 1 << 20  # bytes read at a time
_COMPRESSED_BLOCK = 1 << 16
_SAMPLE = 1 << 16  # bytes from which the encoding is guessed

_BYTE_ORDER_MARKS = (  # the UTF-32 mark starts with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_SIGNATURES = (
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive, an EPUB or an Office document"),
    (b"\xd0\xcf\x11\xe0", "an Office document"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"PAR1", "a parquet file without the suffix .parquet"),
)

_LIKELY_ENCODINGS = ["cp1252", "cp1251", "koi8_r", "shift_jis", "euc_jp", "gb18030", "big5", "euc_kr", "cp1250"]


def check_encoding(name: str) -> None:
    """Raise UsageError unless Python has a text encoding of this name."""
    try:
        codec = codecs.lookup(name)
        "a".encode(name)
    except (LookupError, ValueError):
        raise UsageError(
            f"there is no text encoding {name!r}: use a name such as latin-1, cp1252, cp1251, koi8-r, shift_jis, "
            "gb18030 or utf-16"
        ) from None
    if codec.incrementaldecoder is None:
        raise UsageError(f"a file cannot be read in pieces in the encoding {name!r}: convert it to UTF-8")


def read_text(path: Path, encoding: str | None = None) -> Iterator[str]:
    r"""Read a text file in pieces, with line endings as `\n` and without byte order mark.

    Args:
        path: a file, which may be compressed with gzip, bzip2, xz or zstd; its content decides, not its name.
        encoding: of the text, by default UTF-8. A byte order mark takes precedence.

    Raises:
        CorpusError: the file is not text in this encoding, has NUL bytes or is a damaged compressed file.
    """
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    name = encoding or "utf-8"
    n_read = 0
    try:
        with open_decompressed(path) as file:
            block = file.read(4)
            name = next((found for mark, found in _BYTE_ORDER_MARKS if block.startswith(mark)), name)
            decoder = codecs.getincrementaldecoder(name)("strict")
            while True:
                n_read += len(block)
                text = decoder.decode(block, final=not block)
                if "\0" in text:
                    raise CorpusError(f"{path} {_describe_nul(path, name)}")
                yield newlines.decode(text, final=not block)
                if not block:
                    return
                block = file.read(_BLOCK)
    except UnicodeDecodeError as error:
        offset = n_read - len(error.object) + error.start
        found = f"byte {offset:,} is 0x{error.object[error.start]:02x} ({error.reason})"
        kind = _signature(path)
        if kind:
            raise CorpusError(f"{path} is {kind}, not text: save its text to a .txt file") from None
        raise CorpusError(f"{path} is not {_shown(name)} text: {found}. {_encoding_hint(path, offset)}") from None
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror or error}") from None


@contextmanager
def open_decompressed(path: Path | RemoteFile) -> Iterator[BinaryIO]:
    """Open a file for reading in binary, decompressed if it is compressed; CorpusError if it is damaged."""
    with path.open("rb") as raw:
        head = raw.read(10)
        raw.seek(0)
        file: Any = raw
        if head.startswith(b"\x1f\x8b"):
            import gzip

            file = gzip.GzipFile(fileobj=raw)
        elif re.match(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", head):
            import bz2

            file = bz2.BZ2File(raw)
        elif head.startswith(b"\xfd7zXZ\0"):
            file = lzma.LZMAFile(raw)  # noqa: SIM115  (closed with `raw`)
        elif head.startswith(b"\x28\xb5\x2f\xfd"):
            file = io.BufferedReader(_ZstdFile(raw))
        try:
            yield file
        except (EOFError, zlib.error, lzma.LZMAError, _ZstdDamaged) as error:
            raise CorpusError(f"cannot decompress {path}: the file is damaged or incomplete ({error})") from None
        except OSError as error:
            if file is raw or error.errno is not None:
                raise
            raise CorpusError(f"cannot decompress {path}: the file is damaged ({error})") from None


class _ZstdDamaged(Exception):
    """A zstd file cannot be decompressed."""


class _ZstdFile(io.RawIOBase):
    """The decompressed content of a zstd file. Unlike zstandard's own reader it reports a file that is cut off."""

    def __init__(self, raw: BinaryIO) -> None:
        import zstandard

        self.raw, self.error = raw, zstandard.ZstdError
        self.start: Callable[[], Any] = zstandard.ZstdDecompressor().decompressobj
        self.frame: Any = self.start()
        self.compressed, self.content = b"", b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.content:
            block = self.compressed or self.raw.read(_COMPRESSED_BLOCK)
            if not block:
                if self.frame is not None:
                    raise EOFError("it ends within a frame")
                return 0
            self.frame = self.frame or self.start()
            try:
                self.content = self.frame.decompress(block)
            except self.error as error:
                raise _ZstdDamaged(error) from None
            self.compressed = b""
            if self.frame.eof:
                self.frame, self.compressed = None, self.frame.unused_data
        size = min(len(buffer), len(self.content))
        buffer[:size], self.content = self.content[:size], self.content[size:]
        return size


def _blocks(path: Path) -> Iterator[bytes]:
    with open_decompressed(path) as file:
        while block := file.read(_BLOCK):
            yield block


def _signature(path: Path) -> str:
    """The kind of a file that is not text, or nothing."""
    head = next(_blocks(path), b"")
    if head[257:262] == b"ustar":
        return "a tar archive"
    return next((kind for signature, kind in _SIGNATURES if head.startswith(signature)), "")


def _describe_nul(path: Path, encoding: str) -> str:
    """What a file with NUL characters is, where they are and what to do; the file's name precedes it."""
    kind = _signature(path)
    if kind:
        return f"is {kind}, not text: save its text to a .txt file"
    if encoding.startswith(("utf-16", "utf-32", "utf_16", "utf_32")):
        return f"has NUL characters in its {_shown(encoding)} text: check --encoding, or remove them"
    count = n_bytes = line = size = 0
    first = last_content = -1
    parity = [0, 0]
    for block in _blocks(path):
        found = block.count(b"\0")
        if found and first < 0:
            first = n_bytes + block.index(b"\0")
            line += block.count(b"\n", 0, first - n_bytes) + 1
        elif first < 0:
            line += block.count(b"\n")
        if n_bytes == 0:
            parity = [block[0::2].count(b"\0"), block[1::2].count(b"\0")]
            size = len(block)
        content = block.rstrip(b"\0")
        if content:
            last_content = n_bytes + len(content) - 1
        count, n_bytes = count + found, n_bytes + len(block)
    if sum(parity) * 4 > size and max(parity) > 9 * min(parity):
        order = "le" if parity[1] > parity[0] else "be"
        return f"looks like UTF-16 without a byte order mark: add --encoding utf-16-{order}"
    where = "at its end" if first > last_content else f"of {n_bytes:,}"
    number = "a NUL byte" if count == 1 else f"{count:,} NUL bytes"
    return (
        f"is not text: it has {number} {where}, the first at byte {first:,} in line {line:,}. "
        "Remove them, for example with `tr -d '\\0' < old.txt > new.txt`"
    )


def _encoding_hint(path: Path, offset: int) -> str:
    """What to do about a file that is not in the expected encoding; names the likeliest one."""
    skipped = max(0, offset - _SAMPLE // 2)
    sample = b""
    for block in _blocks(path):
        sample += block[skipped : skipped + _SAMPLE - len(sample)]
        skipped = max(0, skipped - len(block))
        if len(sample) >= _SAMPLE:
            break
    # Cut at line breaks, so that the sample has only complete characters.
    sample = sample[sample.find(b"\n") + 1 if offset > _SAMPLE // 2 else 0 :]
    if len(sample) >= _SAMPLE // 2 and b"\n" in sample:
        sample = sample[: sample.rindex(b"\n") + 1]
    guess = None
    with suppress(ModuleNotFoundError):
        from charset_normalizer import from_bytes

        guess = from_bytes(sample, cp_isolation=_LIKELY_ENCODINGS, enable_fallback=False).best()
    if guess is None:
        return "If it is text in another encoding, name that, for example --encoding cp1252"
    name = guess.encoding
    return f"It is probably {name}: add --encoding {name}, or convert it with `iconv -f {name} -t UTF-8`"


def _shown(encoding: str) -> str:
    return "UTF-8" if encoding.startswith("utf-8") else encoding
