"""Middleware around every request: request id, the body limit, security headers, the access log and HTTP metrics."""

import json
import logging
import secrets
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inkhorn.server.errors import CLIENT_CLOSED_REQUEST, ApiError
from inkhorn.server.metrics import Metrics
from inkhorn.server.settings import Settings
from inkhorn.web import CONTENT_SECURITY_POLICY

log = logging.getLogger("inkhorn.server")

SECURITY_HEADERS = {
    "content-security-policy": f"{CONTENT_SECURITY_POLICY}; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
PROBES = ("/health", "/health/ready", "/metrics")
"""paths that monitoring polls; their successful requests are logged at level DEBUG"""


class RequestMiddleware:
    """ASGI middleware around the application."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._metrics, self._max_bytes = app, metrics, settings.limits.max_body_bytes
        self._too_large = f"the request body exceeds the server's limit of {self._max_bytes:,} bytes"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status, size = time.perf_counter(), CLIENT_CLOSED_REQUEST, 0  # the status until a response starts
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        valid = 0 < len(given) <= 128 and given.isprintable() and given.isascii()
        request_id = given if valid else secrets.token_hex(8)
        log_fields: dict[str, Any] = {}
        scope.setdefault("state", {})["log_fields"] = log_fields  # routes add to request.state.log_fields

        async def limited_receive() -> Message:  # for requests without a Content-Length
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max_bytes:
                raise HTTPException(413, self._too_large)
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                response_headers = MutableHeaders(scope=message)
                response_headers["x-request-id"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    response_headers.setdefault(name, value)
            await send(message)

        try:
            length = headers.get("content-length", "0")
            if length.isdigit() and int(length) > self._max_bytes:
                await ApiError(413, self._too_large).response()(scope, receive, send_with_headers)
            else:
                await self._app(scope, limited_receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - start
            handler = getattr(scope.get("route"), "path", None) or "other"
            self._metrics.observe_http(handler, scope["method"], status, seconds)
            line = {
                "time": round(time.time(), 3),
                "id": request_id,
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "seconds": round(seconds, 4),
            }
            level = logging.DEBUG if status < 400 and scope["path"] in PROBES else logging.INFO
            log.log(level, json.dumps(line | log_fields, ensure_ascii=False))
