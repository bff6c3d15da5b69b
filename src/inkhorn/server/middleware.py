"""Middleware around every request: request id, the body limit, security headers, the access log and HTTP metrics."""

import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inkhorn.server.errors import CLIENT_CLOSED_REQUEST, ApiError
from inkhorn.server.metrics import Metrics
from inkhorn.server.settings import Settings

log = logging.getLogger("inkhorn.server")

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
PROBES = ("/health", "/health/ready", "/metrics")
"""paths that monitoring polls; their successful requests are logged at level DEBUG"""


class RequestMiddleware:
    """ASGI middleware around the application.

    Args:
        app: the application.
        settings: the application's settings.
        metrics: where requests are counted.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = RequestContext(scope, send, self._metrics)
        try:
            length = context.headers.get("content-length", "0")
            if length.isdigit() and int(length) > self._settings.limits.max_body_bytes:
                await ApiError(413, self._too_large).response()(scope, receive, context.send)
            else:
                await self._app(scope, self._limited(receive), context.send)
        finally:
            context.close()

    def _limited(self, receive: Receive) -> Callable[[], Awaitable[Message]]:
        """`receive` with the body limit, for requests without a Content-Length."""
        size = 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._settings.limits.max_body_bytes:
                raise HTTPException(413, self._too_large)
            return message

        return limited

    @property
    def _too_large(self) -> str:
        return f"the request body exceeds the server's limit of {self._settings.limits.max_body_bytes:,} bytes"


class RequestContext:
    """The state of one request, from its arrival to the last byte of its response.

    Args:
        scope: ASGI scope of the request.
        send: ASGI callable of the response.
        metrics: where the request is counted.
    """

    def __init__(self, scope: Scope, send: Send, metrics: Metrics) -> None:
        self.headers = Headers(scope=scope)
        self._scope, self._send, self._metrics = scope, send, metrics
        given = self.headers.get("x-request-id", "")
        self._id = given if 0 < len(given) <= 128 and given.isprintable() and given.isascii() else secrets.token_hex(8)
        self._start, self._status = time.perf_counter(), CLIENT_CLOSED_REQUEST  # until a response starts
        self._log_fields: dict[str, Any] = {}
        scope.setdefault("state", {})["log_fields"] = self._log_fields  # routes add to request.state.log_fields

    async def send(self, message: Message) -> None:
        """Send a message; the response's start gets the request id and the security headers."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self._id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)

    def close(self) -> None:
        """Count and log the request."""
        seconds = time.perf_counter() - self._start
        method, path = self._scope["method"], self._scope["path"]
        handler = getattr(self._scope.get("route"), "path", None) or "other"
        self._metrics.observe_http(handler, method, self._status, seconds)
        line = {
            "time": round(time.time(), 3),
            "id": self._id,
            "method": method,
            "path": path,
            "status": self._status,
            "seconds": round(seconds, 4),
        }
        level = logging.DEBUG if self._status < 400 and path in PROBES else logging.INFO
        log.log(level, json.dumps(line | self._log_fields, ensure_ascii=False))
