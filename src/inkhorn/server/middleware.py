"""Middleware around every request.

From the outside in: `RequestMiddleware` (request id, security headers, access log, metrics, HEAD), CORS, and
`GuardMiddleware` (host, unknown paths, size and duration of the body, and errors that nothing else has handled). What
the inner ones answer thus has the headers of the outer ones, and is logged and counted.
"""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Collection
from contextlib import ExitStack
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inkhorn.server.errors import CLIENT_CLOSED_REQUEST, ApiError, to_api_error
from inkhorn.server.json_size import CHECKED_BYTES, check_json_size
from inkhorn.server.metrics import Metrics
from inkhorn.server.route_table import RouteTable
from inkhorn.server.settings import Settings
from inkhorn.server.web_ui import not_found_page
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


def log_request(request_id: str, method: str, path: str, status: int, seconds: float, fields: dict[str, Any]) -> None:
    """Write the access log's line of a request."""
    line = {
        "time": round(time.time(), 3),
        "id": request_id,
        "method": method,
        "path": path,
        "status": status,
        "seconds": round(seconds, 4),
    }
    level = logging.DEBUG if status < 400 and path in PROBES else logging.INFO
    log.log(level, json.dumps(line | fields, ensure_ascii=False))


def new_request_id() -> str:
    return secrets.token_hex(8)


class RequestMiddleware:
    """What every response gets: a request id, security headers, a line in the log and its place in the metrics.

    When the response has been sent, `state.resources` are released. HEAD is answered as GET, without the body.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: RouteTable) -> None:
        self._app, self._metrics, self._routes = app, metrics, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), CLIENT_CLOSED_REQUEST  # until a response starts
        given = Headers(scope=scope).get("x-request-id", "")
        valid = 0 < len(given) <= 128 and given.isprintable() and given.isascii()
        request_id = given if valid else new_request_id()
        log_fields: dict[str, Any] = {}
        method, path = scope["method"], scope["path"]
        resources = ExitStack()
        state = scope.get("state", {}) | {"log_fields": log_fields, "resources": resources}  # routes add to these
        scope = dict(scope) | {"method": "GET" if method == "HEAD" else method, "state": state}

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                response_headers = MutableHeaders(scope=message)
                response_headers["x-request-id"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    response_headers.setdefault(name, value)
            elif method == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        try:
            with resources:
                await self._app(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - start
            endpoint = self._routes.find(path)
            self._metrics.observe_http("other" if endpoint is None else endpoint.handler, method, status, seconds)
            log_request(request_id, method, path, status, seconds, log_fields)


class GuardMiddleware:
    """Refuses what no route should see, and makes a response of every exception."""

    def __init__(self, app: ASGIApp, settings: Settings, routes: RouteTable) -> None:
        self._app, self._settings, self._routes = app, settings, routes
        self._checking = CapacityLimiter(1)  # large bodies are counted one at a time: it takes memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def tracked_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            headers, limits = Headers(scope=scope), self._settings.limits
            check_host(headers.get("host", ""), self._settings.allowed_hosts)
            self._routes.check(scope["method"], scope["path"])
            body = _Body(receive, limits.max_body_bytes, limits.max_seconds, self._checking)
            body.check_length(headers.get("content-length", "0"))
            await self._app(scope, body.receive, tracked_send)
        except Exception as error:
            if started:  # the client sees a response that breaks off
                raise
            page = not_found_page(error, scope) if self._settings.web_ui else None
            await (page or to_api_error(error).response())(scope, receive, send)


class _Body:
    """Receives the body of a request, within limits of size, time and number of values."""

    def __init__(self, receive: Receive, max_bytes: int, max_seconds: float, checking: CapacityLimiter) -> None:
        self._receive, self._max_bytes, self._max_seconds, self._checking = receive, max_bytes, max_seconds, checking
        self._parts: list[bytes] = []
        self._deadline = asyncio.get_running_loop().time() + max_seconds
        self._size, self._complete = 0, False

    def check_length(self, content_length: str) -> None:
        if content_length.isdigit() and (len(content_length) > 18 or int(content_length) > self._max_bytes):
            self._refuse()

    async def receive(self) -> Message:
        if self._complete:  # what follows is the end of the connection
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            text = f"the request body did not arrive within the server's limit of {self._max_seconds:g} seconds"
            raise HTTPException(408, text, {"Connection": "close"}) from None
        self._size += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._size > self._max_bytes:
            self._refuse()
        self._parts.append(message.get("body", b""))
        if self._complete and self._size > CHECKED_BYTES:
            await run_sync(check_json_size, b"".join(self._parts), limiter=self._checking)
        return message

    def _refuse(self) -> None:
        # An HTTPException, because FastAPI turns any other that arises while it reads a body into status 400.
        raise HTTPException(413, f"the request body exceeds the server's limit of {self._max_bytes:,} bytes")


def check_host(header: str, allowed: Collection[str]) -> None:
    """Raise ApiError 403 if the Host header names a host that is not allowed; an empty collection allows all.

    Without this, a page of another origin could reach a server on the loopback address through a name that its owner
    points to that address (DNS rebinding).
    """
    host = host_name(header)
    if allowed and host and host not in allowed:
        message = f"the host {host!r} is not allowed: start the server with --allowed-host {host} to serve it"
        raise ApiError(403, message, code="host_not_allowed")


def host_name(header: str) -> str:
    """The name in a Host header, in lower case and without the port."""
    host = header.strip().lower()
    name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return name.strip("[]").rstrip(".")
