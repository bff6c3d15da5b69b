"""A file from the web into the cache: resumed where it broke off, checked, put in place in one step."""

import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from inkhorn.errors import CorpusError
from inkhorn.utils.checksum import sha256_of

_BLOCK = 1 << 16  # bytes
_TIMEOUT = 30.0  # seconds without a byte


def download(url: str, path: Path, sha256: str, otherwise: str) -> None:
    """Fetch `url` to `path`. What has come stays in `path`.part, and the next call goes on from there.

    Args:
        url: where from.
        path: where to; its folder is made.
        sha256: hexadecimal checksum of the whole file.
        otherwise: how to do without; ends the message of an error.

    Raises:
        CorpusError: no connection, a refusal, a connection that broke off, a full disk, or a wrong checksum.

    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            _receive(url, file, otherwise)
        actual, size = sha256_of(part), part.stat().st_size
        if actual != sha256:
            part.unlink()  # or the next call would go on from it
            raise CorpusError(
                f"{url} sent {size:,} bytes with sha256 {actual}, not {sha256}; they were thrown away. {otherwise}"
            )
        part.replace(path)
    except OSError as error:
        raise CorpusError(
            f"cannot write {path}: {error.strerror}. Free some space there, or set INKHORN_CACHE to another folder"
        ) from None


def _receive(url: str, file: BinaryIO, otherwise: str) -> None:
    """Append to the file what it lacks."""
    had = file.seek(0, os.SEEK_END)
    request = urllib.request.Request(url, headers={"Range": f"bytes={had}-"} if had else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            if response.status != 206:  # a server that knows nothing of ranges sends all of it
                file.truncate(0)
                had = 0
            length = response.headers.get("Content-Length")
            total = had + int(length) if length else None
            _copy(response, file, Path(url).name, had, total)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416:  # nothing left to send: the checksum will tell whether that is so
            raise CorpusError(
                f"cannot download {url}: the server answers {error.code} {error.reason}. {otherwise}"
            ) from None
    except (OSError, http.client.HTTPException) as error:
        raise CorpusError(f"cannot download {url}: {getattr(error, 'reason', error)}. {otherwise}") from None


def _copy(response: http.client.HTTPResponse, file: BinaryIO, name: str, done: int, total: int | None) -> None:
    """Copy, with a progress bar on a terminal."""
    from rich.console import Console  # only a download needs it
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=total, completed=done)
        while block := response.read(_BLOCK):
            try:
                file.write(block)
            except OSError as error:
                raise CorpusError(f"cannot write {name}: {error.strerror}") from None
            done += len(block)
            progress.advance(task, len(block))
    if total is not None and done < total:
        raise ConnectionError(f"it broke off after {done:,} of {total:,} bytes, from where the next try goes on")
