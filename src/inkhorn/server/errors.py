"""Errors in OpenAI's format: {"error": {"message", "type", "param", "code"}}."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from inkhorn.errors import InkhornError, QueueFullError, TokenizerError, UsageError
from inkhorn.server.schemas.responses import ErrorResponse

log = logging.getLogger("inkhorn.server")

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that disconnected before the response; appears in the log and metrics only"""

_STATUSES = {
    400: ("invalid_request_error", "Bad request: a field is invalid or exceeds a limit."),
    401: ("authentication_error", "The API key is missing or invalid."),
    403: ("permission_error", "The host in the request's Host header is not allowed."),
    404: ("not_found_error", "The model or the URL does not exist."),
    405: ("invalid_request_error", "The URL does not accept this method."),
    408: ("timeout_error", "The request timed out."),
    413: ("invalid_request_error", "The request body is too large."),
    429: ("rate_limit_exceeded", "The queue is full, or the rate limit is exceeded."),
    503: ("unavailable_error", "The server is starting or shutting down, or the model failed."),
}
"""OpenAI's error type of each status, and its description in the OpenAPI document."""


NO_RETRY = {"X-Should-Retry": "false"}
"""Header that keeps OpenAI's clients from sending a request again that took too long, as they do on status 408."""


@dataclass(eq=False)
class ApiError(Exception):
    """An error response: its HTTP status, the fields of OpenAI's error object, and additional headers."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] | None = None

    def body(self) -> dict[str, Any]:
        kind, _ = _STATUSES.get(self.status, ("invalid_request_error" if self.status < 500 else "server_error", ""))
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body(), self.status, headers=self.headers)


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` argument of a route that can fail with these statuses."""
    return {status: {"model": ErrorResponse, "description": _STATUSES[status][1]} for status in statuses}


def to_api_error(error: BaseException) -> ApiError:
    """The error response to an exception. Details of an unexpected exception go to the log only, here."""
    match error:
        case ApiError():
            return error
        case QueueFullError():
            return ApiError(429, str(error), code="queue_full", headers={"Retry-After": "1"})
        case UsageError() | TokenizerError():
            return ApiError(400, str(error))
        case InkhornError():
            return ApiError(503, str(error), headers={"Retry-After": "5"})
        case HTTPException(status_code=400) if error.__cause__ is not None:
            return ApiError(400, f"the request body is not valid JSON: {_json_problem(error.__cause__)}")
        case HTTPException():
            headers = dict(error.headers or {}) | (NO_RETRY if error.status_code == 408 else {})
            return ApiError(error.status_code, str(error.detail), headers=headers)
        case RequestValidationError():
            return _from_validation(error)
    log.error("internal error", exc_info=error)
    return ApiError(500, "internal server error: see the server's log")


def _json_problem(error: BaseException) -> str:
    """Why a body could not be parsed that has no syntax error."""
    match error:
        case UnicodeDecodeError():
            return "it is not encoded in UTF-8"
        case RecursionError():
            return "it is nested too deeply"
    return "a number has too many digits" if "digits" in str(error) else " ".join(str(error).split())


def _from_validation(error: RequestValidationError) -> ApiError:
    """The first invalid field. pydantic reports one error for each member of a union: those about the value are kept
    if the type of any member matched, otherwise those about the type."""
    errors = list(error.errors())
    first = errors[0]
    location = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    if first["type"] == "json_invalid":
        return ApiError(400, f"the request body is not valid JSON: {first['ctx']['error']}")
    if isinstance(error.body, bytes):
        return ApiError(400, "the request body is not read: send the header Content-Type: application/json")
    if not location:
        return ApiError(400, f"request body: {_lower_first(first['msg'])}")
    field = location[0]
    of_field = [e for e in errors if str(e["loc"][1]) == field]
    about_value = [e for e in of_field if not e["type"].endswith("_type")] or of_field
    message = " or ".join(dict.fromkeys(_lower_first(e["msg"]) for e in about_value))
    return ApiError(400, f"{_path(about_value[0]['loc'][1:])}: {message}", param=field)


def _path(location: Sequence[Any]) -> str:
    """Where a value is, such as interventions[0].layer, without pydantic's names of union members."""
    path = str(location[0])
    for part in location[1:]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.isidentifier() and part not in ("str", "int", "float", "bool"):
            path += f".{part}"
        else:
            break
    return path


def _lower_first(message: str) -> str:
    return message[:1].lower() + message[1:]


def add_exception_handlers(app: FastAPI) -> None:
    """Make every error response of an application use OpenAI's format."""

    async def handle(_: Request, error: Exception) -> JSONResponse:
        return to_api_error(error).response()

    for kind in (ApiError, InkhornError, HTTPException, RequestValidationError):  # `GuardMiddleware` handles all others
        app.add_exception_handler(kind, handle)
