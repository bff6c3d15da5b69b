"""What every request passes on its way in and out: its name, keys, limits, headers, a line in the log, a count."""

import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inkhorn.server.auth import GUARDED, PUBLIC, Keys, RateLimit
from inkhorn.server.errors import ApiError
from inkhorn.server.metrics import Metrics
from inkhorn.server.settings import Settings

log = logging.getLogger("inkhorn.server")

POLICY = "; ".join(
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
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}


class Border:
    """The app behind its border.

    Args:
        app: what answers.
        settings: keys and limits.
        metrics: where requests are counted.

    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._keys = Keys(settings.api_keys)
        self._rates = RateLimit(settings.limits.rate_limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or one of the other things that a server tells."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        crossing = _Crossing(scope, send, self._metrics)
        try:
            self._check(scope, crossing.headers)
            await self._app(scope, self._limited(receive), crossing.send)
        except ApiError as error:  # refused here, before the app
            await error.response()(scope, receive, crossing.send)
        finally:
            crossing.close()

    def _check(self, scope: Scope, headers: Headers) -> None:
        path = scope["path"]
        if scope["method"] != "OPTIONS":
            self._keys.check(path, headers)
        if path.startswith(GUARDED) and path not in PUBLIC and path != "/metrics":
            key = headers.get("authorization") or headers.get("x-api-key")
            address = (scope.get("client") or ("",))[0]
            self._rates.check(key if key and self._settings.api_keys else address)
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._settings.limits.max_body_bytes:
            raise self._too_long(ApiError)

    def _limited(self, receive: Receive) -> Callable[[], Awaitable[Message]]:
        """`receive`, up to the limit: a body need not say how long it is."""
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._settings.limits.max_body_bytes:
                raise self._too_long(HTTPException)
            return message

        return limited

    def _too_long(self, kind: Callable[[int, str], Exception]) -> Exception:
        return kind(413, f"the body is longer than {self._settings.limits.max_body_bytes:,} bytes, this server's limit")


class _Crossing:
    """One request, from its arrival to its answer's last byte."""

    def __init__(self, scope: Scope, send: Send, metrics: Metrics) -> None:
        self.headers = Headers(scope=scope)
        self._scope, self._send, self._metrics = scope, send, metrics
        given = self.headers.get("x-request-id", "")
        self._id = given if 0 < len(given) <= 128 and given.isprintable() and given.isascii() else secrets.token_hex(8)
        self._start, self._status = time.perf_counter(), 499  # if nothing is ever sent: the client was gone
        facts: MutableMapping[str, Any] = {}
        scope["inkhorn.facts"] = facts
        self._facts = facts

    async def send(self, message: Message) -> None:
        """Send on; the headers get ours."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self._id
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)

    def close(self) -> None:
        """Count and log it."""
        seconds = time.perf_counter() - self._start
        route = self._scope.get("route")
        handler = getattr(route, "path", None) or "other"
        method = self._scope["method"] if self._scope["method"] in ("GET", "POST", "HEAD", "OPTIONS") else "other"
        self._metrics.http.labels(handler, method, str(self._status)).inc()
        self._metrics.http_seconds.labels(handler).observe(seconds)
        facts = {
            "time": round(time.time(), 3),
            "id": self._id,
            "method": self._scope["method"],
            "path": self._scope["path"],
            "status": self._status,
            "seconds": round(seconds, 4),
        }
        quiet = self._status < 400 and self._scope["path"] in ("/health", "/health/ready", "/metrics")
        log.log(logging.DEBUG if quiet else logging.INFO, json.dumps(facts | dict(self._facts), ensure_ascii=False))
