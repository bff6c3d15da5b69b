"""The live page of a training run: a small server in a thread of the training process, on the loopback address only.

It uses Python's http.server, so it needs no packages, and sends files of the run's folder as they are: the browser does
the rest. The training process only reads what was appended since the last request.
"""

import json
import mimetypes
import re
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from inkhorn.errors import InkhornError, UsageError
from inkhorn.inference.snapshots import ABOUT, FOLDER, read_snapshot, read_view
from inkhorn.utils.files import read_json
from inkhorn.web import CONTENT_SECURITY_POLICY, STATIC_DIR

HOST, DEFAULT_PORT = "127.0.0.1", 8010
PAGE = "watch/index.html"
_RUN_FILES = ("run.json", "metrics.jsonl", "samples.jsonl")
_VIEW = re.compile(r"/snapshots/(\d{1,9})\.json")
_MAX_CHUNK = 1 << 20


class WatchServer:
    """Serves the page of the run in a folder until it is closed.

    Args:
        out: the run's folder; it may be created later.
        port: 0 picks a free one.

    Raises:
        UsageError: the port is in use.
    """

    def __init__(self, out: Path, port: int = DEFAULT_PORT) -> None:
        try:
            self._server = _Server(out, port)
        except OSError as error:
            raise UsageError(
                f"--watch: cannot listen on {HOST}:{port} ({error.strerror}): give another port, or 0 for a free one"
            ) from None
        self.url = f"http://{HOST}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="inkhorn-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, out: Path, port: int) -> None:
        self.out = out
        files = (path for path in STATIC_DIR.rglob("*") if path.is_file())
        self.static = {f"/{path.relative_to(STATIC_DIR).as_posix()}": path for path in files}
        self.static["/"] = STATIC_DIR / PAGE
        super().__init__((HOST, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that closes its connection is not worth a traceback in the user's terminal."""


class _Handler(BaseHTTPRequestHandler):
    timeout = 60  # seconds; each connection, of one request, has a thread
    server: _Server

    def do_GET(self) -> None:
        # A page of another host name that resolves to this machine must not read the run.
        if self.headers.get("Host", "").rpartition(":")[0] not in (HOST, "localhost"):
            return self._send(403, b"This server answers on loopback host names only.\n", "text/plain")
        url = urlsplit(self.path)
        if url.path in self.server.static:
            path = self.server.static[url.path]
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            return self._send(200, path.read_bytes(), "text/javascript" if path.suffix == ".js" else kind)
        if url.path.removeprefix("/") in _RUN_FILES:
            return self._send_file(self.server.out / url.path.removeprefix("/"), parse_qs(url.query))
        if url.path == "/snapshots.json":
            return self._send_json(self._snapshots())
        if match := _VIEW.fullmatch(url.path):
            folder = self.server.out / FOLDER / f"step-{int(match[1]):07d}"
            with suppress(InkhornError):  # deleted meanwhile, or damaged
                return self._send_json(read_view(read_snapshot(folder)))
        return self._send(404, b"Not found.\n", "text/plain")

    def _snapshots(self) -> list[dict[str, Any]]:
        """Step and loss of each snapshot."""
        found = []
        for path in sorted((self.server.out / FOLDER).glob(f"step-*/{ABOUT}")):
            with suppress(InkhornError):
                about = read_json(path)
                found.append({"step": about.get("step"), "loss": about.get("loss")})
        return found

    def _send_file(self, path: Path, query: dict[str, list[str]]) -> None:
        """A file from an offset on, or all of it if it has been replaced since. A missing file is empty.

        The header Inkhorn-File has the file's identity and the offset at which the body begins.
        """
        try:
            with path.open("rb") as file:
                stat = path.stat()
                identity, start = f"{stat.st_ino}", query.get("from", ["0"])[0]
                same = query.get("file") == [identity] and start.isdecimal() and int(start) <= stat.st_size
                offset = int(start) if same else 0
                file.seek(offset)
                content = file.read(_MAX_CHUNK)
        except OSError:
            identity, offset, content = "none", 0, b""
        self._send(200, content, "text/plain; charset=utf-8", {"Inkhorn-File": f"{identity} {offset}"})

    def _send_json(self, value: Any) -> None:
        content = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        self._send(200, content.encode("utf-8", "replace"), "application/json")

    def _send(self, status: int, content: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        fixed = {"Content-Type": kind, "Content-Length": str(len(content)), "Cache-Control": "no-store"}
        safety = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "X-Content-Type-Options": "nosniff"}
        for name, value in (fixed | safety | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: the terminal shows the training."""
