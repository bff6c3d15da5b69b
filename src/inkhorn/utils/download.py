"""Downloads into the cache folder, checked against a SHA-256."""

import hashlib
import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import platformdirs

from inkhorn.errors import CorpusError, MissingFileError

_TIMEOUT = 30.0  # seconds without a byte


def cache_dir() -> Path:
    """The folder for downloads: INKHORN_CACHE, else the user's cache folder. It may not exist yet."""
    chosen = os.environ.get("INKHORN_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("inkhorn", appauthor=False))


def missing_package(file: str, requirement: str, hint: str = "") -> MissingFileError:
    """The error if a package's file is neither in the cache folder nor in the current one.

    Args:
        file: its name.
        requirement: the arguments of `pip download` that name it.
        hint: what else to do; ends the message.
    """
    pip = [sys.executable, "-m", "pip"] if find_spec("pip") else ["pip"]
    command = (*pip, "download", *requirement.split(), "-d", str(cache_dir()))
    where = f"neither in {cache_dir()} nor in the current folder"
    return MissingFileError(f"{file} is {where}. Download it with\n    {shlex.join(command)}{hint}", command)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file; CorpusError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from None


def check_sha256(path: Path, expected: str) -> None:
    """Raise CorpusError unless the file has this hexadecimal SHA-256."""
    actual = sha256_of(path)
    if actual != expected:
        raise CorpusError(
            f"{path} has the wrong checksum: {path.stat().st_size:,} bytes with sha256 {actual}, expected {expected}. "
            "Delete it and download it again"
        )


def download(url: str, path: Path, sha256: str, hint: str) -> None:
    """Download a file, unless `path` has the right content already.

    Args:
        url: where the file comes from.
        path: where it goes; the folder is created.
        sha256: its hexadecimal checksum.
        hint: what to do without the download; ends the error message.

    Raises:
        CorpusError: no connection, an HTTP error, an interrupted transfer, a wrong checksum, or a full disk.
    """
    import pooch
    import requests

    try:
        pooch.retrieve(
            url,
            known_hash=f"sha256:{sha256}",
            fname=path.name,
            path=path.parent,
            downloader=pooch.HTTPDownloader(timeout=_TIMEOUT),
        )
    except requests.HTTPError as error:
        status = "" if error.response is None else f"{error.response.status_code} {error.response.reason}"
        raise CorpusError(f"cannot download {url}: the server answered {status}. {hint}") from None
    except requests.RequestException as error:
        raise CorpusError(f"cannot download {url}: {type(error).__name__}: {error}. {hint}") from None
    except ValueError:  # of pooch: the checksum differs, and the file has been deleted
        raise CorpusError(f"{url} sent a file with another checksum than sha256 {sha256}. {hint}") from None
    except OSError as error:
        raise CorpusError(
            f"cannot write {path}: {error.strerror}. Free some space there, or set INKHORN_CACHE to another folder"
        ) from None
