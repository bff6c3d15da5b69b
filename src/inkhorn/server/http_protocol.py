"""uvicorn's HTTP protocol, with a time limit for the arrival of a request, and errors like those of the routes."""

import asyncio
import time
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from inkhorn.server.errors import ApiError
from inkhorn.server.middleware import SECURITY_HEADERS, log_request, new_request_id

if TYPE_CHECKING:
    from inkhorn.server.context import AppContext

MAX_HEAD_BYTES = 65_536
"""Most bytes of the URL and headers of a request."""

LINGER_SECONDS = 1.0
"""How long the rest of a refused request is read and dropped."""


class HttpProtocol(HttpToolsProtocol):
    """One connection. It is closed if no complete request head arrives within the keep-alive timeout."""

    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._head_bytes += len(data)
        super().data_received(data)
        # While the timer runs, the head of a request is incomplete.
        if self._timer is not None and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, f"the head of the request exceeds {MAX_HEAD_BYTES:,} bytes", "head_too_large")

    def on_headers_complete(self) -> None:
        self._cancel_timer()
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            self.cycle.__class__ = _Http10Cycle

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and self.cycle.response_complete:
            self._expect_request()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(400, msg.removesuffix(".").lower(), "invalid_http")

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Send an error in the form of all others, log and count it, and close the connection."""
        start, request_id = time.perf_counter(), new_request_id()
        response = ApiError(status, message, code=code).response()
        headers = dict(response.headers) | SECURITY_HEADERS | {"x-request-id": request_id, "connection": "close"}
        lines = [STATUS_LINE[status], *(f"{name}: {value}\r\n".encode("latin-1") for name, value in headers.items())]
        self.transport.write(b"".join([*lines, b"\r\n", bytes(response.body)]))
        # Closing a connection with unread data would reset it, and the client might not see the answer.
        self._refused = True
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)
        seconds = time.perf_counter() - start
        context: AppContext = self.config.app.state.context  # type: ignore[union-attr]
        context.metrics.observe_http("other", "other", status, seconds)
        log_request(request_id, "", "", status, seconds, {})

    def _expect_request(self) -> None:
        self._cancel_timer()
        self._head_bytes = 0
        self._timer = self.loop.call_later(self.timeout_keep_alive, self.transport.close)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Http10Cycle(RequestResponseCycle):
    """A response to a client of HTTP/1.0, which does not know chunked bodies: one of unknown length ends with the
    connection."""

    _unsized = False

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._unsized = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
            self.chunked_encoding = False if self._unsized else None
        elif self._unsized:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)
