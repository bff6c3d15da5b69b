"""The router: one address for several models. It sends a request to the deployment that its `model` field names."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from inkhorn.errors import nearest
from inkhorn.server.errors import ApiError
from inkhorn.server.schemas.fields import MAX_NAME
from inkhorn.server.settings import Limits
from inkhorn.server.streaming import DONE, encode_json, sse_event

_SCOPE = ("type", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path", "headers")
MERGED = {"/v1/models": "data", "/api/settings": "models"}
"""Paths whose answer is that of all models together, with the field that is merged."""


class Router:
    """An ASGI application in front of deployments.

    Args:
        handles: a Ray deployment handle of each model's `Replica`, by the model's name. The first is the default.
        limits: only the size of a body is checked here; the replicas check the rest.
    """

    def __init__(self, handles: Mapping[str, Any], limits: Limits) -> None:
        self._handles, self._limits = handles, limits
        self._default = next(iter(handles))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        try:
            body = await self._read(receive)
            field = MERGED.get(scope["path"])
            if field is not None and scope["method"] == "GET":
                await self._merge(scope, field, send)
                return
            await self._forward(self._model(scope, body), scope, body, send)
        except ApiError as error:
            await error.response()(scope, receive, send)

    async def _read(self, receive: Receive) -> bytes:
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._limits.max_body_bytes:
                limit = f"{self._limits.max_body_bytes:,} bytes"
                raise ApiError(413, f"the request body exceeds the server's limit of {limit}")
            more = message.get("more_body", False)
        return b"".join(parts)

    def _model(self, scope: Scope, body: bytes) -> str:
        """The model that a request names: in its body, its path or its query."""
        name: object = None
        path: str = scope["path"]
        if scope["method"] == "POST":
            try:
                parsed = json.loads(body)
                name = parsed.get("model") if isinstance(parsed, dict) else None
            except (ValueError, RecursionError):  # the replica says what is wrong
                name = None
        elif path.startswith("/v1/models/"):
            name = unquote(path.removeprefix("/v1/models/"))
        else:
            name = Request(scope).query_params.get("model")
        if not isinstance(name, str):
            return self._default
        if name not in self._handles:
            hint = nearest(name[:MAX_NAME], self._handles)
            message = f"the model {name[:MAX_NAME]!r} does not exist: {hint}"
            raise ApiError(404, message, param="model", code="model_not_found")
        return name

    async def _messages(self, model: str, scope: Scope, body: bytes) -> AsyncIterator[Message]:
        """The messages of a deployment's response. Raises ApiError if the replica is lost."""
        from ray.exceptions import RayActorError, RayError
        from ray.serve.exceptions import BackPressureError, RayServeException

        client = scope.get("client")
        portable = {name: scope[name] for name in _SCOPE if name in scope} | {"client": client and tuple(client)}
        portable["headers"] = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
        responses = self._handles[model].options(stream=True).respond.remote(portable, body)
        try:
            async for batch in responses:
                for message in batch:
                    yield message
        except BackPressureError:
            message = f"all replicas of model {model} are busy: try again later"
            raise ApiError(429, message, code="queue_full", headers={"Retry-After": "1"}) from None
        except (RayActorError, RayServeException, RayError) as error:
            message = f"the replica of model {model} that answered this request was lost ({type(error).__name__})"
            headers = {"Retry-After": "1"}
            raise ApiError(503, f"{message}: send it again", code="replica_lost", headers=headers) from None
        except (asyncio.CancelledError, GeneratorExit):  # the client disconnected
            responses.cancel()
            raise

    async def _forward(self, model: str, scope: Scope, body: bytes, send: Send) -> None:
        started = is_stream = False
        try:
            async for message in self._messages(model, scope, body):
                if message["type"] == "http.response.start":
                    started = True
                    is_stream = dict(message["headers"]).get(b"content-type", b"").startswith(b"text/event-stream")
                await send(message)
        except ApiError as error:
            if not started or not is_stream:
                raise
            event = b"event: error\n" if scope["path"] == "/v1/responses" else b""
            end = event + sse_event(encode_json(error.body())) + DONE
            await send({"type": "http.response.body", "body": end, "more_body": False})

    async def _merge(self, scope: Scope, field: str, send: Send) -> None:
        """Answer with the first model's answer, to whose field those of the others are added."""
        start, merged = None, {}
        for model in self._handles:
            status, found = None, b""
            async for message in self._messages(model, scope, b""):
                if message["type"] == "http.response.start":
                    status = message
                found += message.get("body", b"")
            if status is None or status["status"] != 200:  # such as a missing key
                await send(status or {"type": "http.response.start", "status": 503})
                await send({"type": "http.response.body", "body": found})
                return
            answer = json.loads(found)
            if start is None:
                start, merged = status, answer
            else:
                merged[field] = merged[field] + answer[field] if field == "data" else merged[field] | answer[field]
        content = encode_json(merged).encode()
        assert start is not None
        headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
        headers.append((b"content-length", str(len(content)).encode()))
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": content})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
