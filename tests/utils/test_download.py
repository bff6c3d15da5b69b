"""Downloads from a local server: complete, interrupted, wrong, refused."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from inkhorn.errors import CorpusError
from inkhorn.utils.download import cache_dir, check_sha256, download

BODY = b"".join(b"line %d\n" % i for i in range(20_000))
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


class Server(ThreadingHTTPServer):
    """Serves BODY, or its first `send_only` bytes, and counts the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = 0
        self.status = 200
        self.send_only = len(BODY)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/input.txt"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[: self.server.send_only])

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


def test_download(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "new" / "input.txt"
    download(server.url, path, SHA256, "")
    assert path.read_bytes() == BODY
    assert list(path.parent.iterdir()) == [path]
    download(server.url, path, SHA256, "")
    assert server.requests == 1  # the file is there already


def test_a_wrong_file_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_bytes(BODY[:-1])
    download(server.url, tmp_path / "input.txt", SHA256, "")
    assert (tmp_path / "input.txt").read_bytes() == BODY


def test_interrupted_transfer(server: Server, tmp_path: Path) -> None:
    server.send_only = 1000
    with pytest.raises(CorpusError, match=r"^cannot download http.*\. Do this$"):
        download(server.url, tmp_path / "input.txt", SHA256, "Do this")
    assert not list(tmp_path.iterdir())


def test_wrong_checksum(server: Server, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=f"sent a file with another checksum than sha256 {'00' * 32}. Do this"):
        download(server.url, tmp_path / "input.txt", "00" * 32, "Do this")
    assert not list(tmp_path.iterdir())


def test_http_error(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(CorpusError, match=r"the server answered 404 Not Found\. Do this"):
        download(server.url, tmp_path / "input.txt", SHA256, "Do this")


def test_offline(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"^cannot download http://127\.0\.0\.1:9/.*\. Do this$"):
        download("http://127.0.0.1:9/input.txt", tmp_path / "input.txt", SHA256, "Do this")


def test_unwritable_folder(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CorpusError, match=r"cannot write .*INKHORN_CACHE"):
        download(server.url, tmp_path / "file" / "input.txt", SHA256, "")


def test_cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INKHORN_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("INKHORN_CACHE")
    assert cache_dir().name == "inkhorn"


def test_check_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BODY)
    check_sha256(tmp_path / "a", SHA256)
    with pytest.raises(CorpusError, match=f"wrong checksum: {len(BODY):,} bytes"):
        check_sha256(tmp_path / "a", "00" * 32)
    with pytest.raises(CorpusError, match="cannot read"):
        check_sha256(tmp_path / "b", SHA256)
