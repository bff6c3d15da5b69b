"""Downloads from a server on this machine: whole, broken off and resumed, wrong, refused."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from inkhorn.errors import CorpusError
from inkhorn.utils.download import download

BODY = b"".join(b"line %d\n" % i for i in range(20_000))
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


class Server(ThreadingHTTPServer):
    """Serves BODY; counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.status = 200
        self.knows_ranges = True
        self.send_only = len(BODY)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/input.txt"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.server.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.knows_ranges else 0
        if self.server.status != 200:
            self.send_error(self.server.status)
        elif start >= len(BODY):
            self.send_error(416)
        else:
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(BODY) - start))
            self.end_headers()
            self.wfile.write(BODY[start : self.server.send_only])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def test_a_download_is_put_in_place_whole(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "new" / "input.txt"
    download(server.url, path, SHA256, "")
    assert path.read_bytes() == BODY
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_broken_download_goes_on_where_it_broke_off(server: Server, tmp_path: Path, knows_ranges: bool) -> None:
    path = tmp_path / "input.txt"
    server.send_only, server.knows_ranges = 1000, knows_ranges
    with pytest.raises(CorpusError, match=f"after 1,000 of {len(BODY):,} bytes.*or else"):
        download(server.url, path, SHA256, "or else")
    assert not path.exists()
    server.send_only = len(BODY)
    download(server.url, path, SHA256, "")
    assert server.ranges == [None, "bytes=1000-"]
    assert path.read_bytes() == BODY


def test_a_download_that_was_whole_already_is_only_checked(server: Server, tmp_path: Path) -> None:
    (tmp_path / "input.txt.part").write_bytes(BODY)
    download(server.url, tmp_path / "input.txt", SHA256, "")
    assert (tmp_path / "input.txt").read_bytes() == BODY


def test_a_download_with_the_wrong_checksum_is_thrown_away(server: Server, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=f"{len(BODY):,} bytes with sha256 {SHA256}, not 00.*thrown away"):
        download(server.url, tmp_path / "input.txt", "00" * 32, "")
    assert not list(tmp_path.iterdir())


def test_a_refusal_says_what_to_do(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(CorpusError, match=r"answers 404 Not Found\. Do this"):
        download(server.url, tmp_path / "input.txt", SHA256, "Do this")


def test_a_full_disk_is_not_blamed_on_the_network(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CorpusError, match=r"cannot write .*INKHORN_CACHE"):
        download(server.url, tmp_path / "file" / "input.txt", SHA256, "")
