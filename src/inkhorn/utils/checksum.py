"""Whether a file is the one it should be."""

import hashlib
from pathlib import Path

from inkhorn.errors import CorpusError


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file; CorpusError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from None


def check_sha256(path: Path, expected: str) -> None:
    """CorpusError unless the file has this hexadecimal SHA-256."""
    actual = sha256_of(path)
    if actual != expected:
        raise CorpusError(
            f"{path} is not the file it should be: {path.stat().st_size:,} bytes with sha256 {actual}, not {expected}. "
            "Delete it and get it again"
        )
