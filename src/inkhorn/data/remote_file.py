"""Files in object storage, or wherever else fsspec reads: `s3://bucket/web`, `gs://...`, `hf://...`, `memory://...`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inkhorn.errors import CorpusError

_URL = re.compile(r"([a-z][a-z0-9+]+):/+(.*)", re.S)  # Path makes one slash of two
_VERSION_KEYS = ("ETag", "md5Hash", "mtime", "LastModified", "created")  # by which storages name a file's version


@dataclass(frozen=True)
class RemoteFile:
    """A file that is opened like a Path."""

    url: str

    def open(self, mode: str) -> Any:
        """Open the file with fsspec; CorpusError if that fails."""
        fs, path = _filesystem(self.url)
        try:
            return fs.open(path, mode)
        except Exception as error:  # each storage has its own exception types
            raise CorpusError(f"cannot read {self.url}: {' '.join(str(error).split())}") from None

    def __str__(self) -> str:
        return self.url


def remote_url(path: Path | str) -> str | None:
    """The URL that was given in place of a path, or None."""
    match = _URL.fullmatch(str(path) if isinstance(path, str) else path.as_posix())
    return f"{match[1]}://{match[2]}" if match else None


def absolute(path: Path) -> str:
    """A path or URL that does not depend on the current folder."""
    return remote_url(path) or str(path.resolve())


def list_files(url: str) -> list[tuple[RemoteFile, str, int, str]]:
    """The files at or below a URL, in the order of their paths: each with its name below it, its size and its version.

    Raises:
        CorpusError: there is nothing, or the storage cannot be reached.
    """
    fs, root = _filesystem(url)
    try:
        found = fs.find(root, detail=True)
    except Exception as error:
        raise CorpusError(f"cannot read {url}: {' '.join(str(error).split())}") from None
    if not found:
        raise CorpusError(f"there is nothing at {url}: check the name, and the access to it")
    listed = []
    for path, info in sorted(found.items()):
        version = next((str(info[key]) for key in _VERSION_KEYS if key in info), "")
        name = path.removeprefix(root).lstrip("/")
        listed.append((RemoteFile(fs.unstrip_protocol(path)), name, info.get("size") or 0, version))
    return listed


def _filesystem(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        fs, path = fsspec.url_to_fs(url)
    except ImportError as error:  # s3fs, gcsfs, adlfs, ... are packages of their own
        raise CorpusError(f"cannot read {url}: {error}") from None
    except ValueError as error:
        known = ", ".join(name for name in ("s3", "gs", "az", "hf", "http") if name in fsspec.available_protocols())
        raise CorpusError(f"cannot read {url}: {error}; known are {known} and others of fsspec") from None
    return fs, path
