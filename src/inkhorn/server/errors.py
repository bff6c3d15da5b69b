"""Errors in OpenAI's form: {"error": {"message", "type", "param", "code"}} with the status that its clients know."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from inkhorn.errors import InkhornError, QueueFullError, TokenizerError, UsageError

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_exceeded",
    500: "server_error",
    503: "unavailable_error",
}


class ErrorDetail(BaseModel):
    """What went wrong: for people, its kind, the field that was at fault, and a name for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorDetail


class ApiError(Exception):
    """An error with its status.

    Args:
        status: of HTTP.
        message: for people: what was wrong, the limits, the way out.
        param: the field at fault.
        code: a name for programs.
        headers: more headers.

    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.headers = status, message, param, code, headers

    def body(self) -> dict[str, Any]:
        """In OpenAI's form."""
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """As an answer."""
        return JSONResponse(self.body(), self.status, headers=self.headers)


def from_exception(error: BaseException) -> ApiError:
    """What a client is told about an exception. A bug is not described: that is for the log."""
    match error:
        case ApiError():
            return error
        case QueueFullError():
            return ApiError(429, str(error), code="queue_full", headers={"Retry-After": "1"})
        case UsageError() | TokenizerError():
            return ApiError(400, str(error))
        case InkhornError():
            return ApiError(503, str(error), headers={"Retry-After": "5"})
        case HTTPException():
            return ApiError(error.status_code, str(error.detail), headers=error.headers)
        case RequestValidationError():
            return _from_validation(error)
    return ApiError(500, "the server failed at this request: its log says more")


def _from_validation(error: RequestValidationError) -> ApiError:
    """The first field that was wrong. Where it may be of several kinds, each has its objection: told are those about
    the value, if the kind was right, else which kinds there are."""
    errors = list(error.errors())
    first = errors[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    if first["type"] == "json_invalid":
        return ApiError(400, f"the body is not JSON: {first.get('ctx', {}).get('error', first['msg'])}")
    if not place:
        return ApiError(400, f"the body: {_lower(first['msg'])}")
    same = [e for e in errors if str(e["loc"][1]) == place[0]]
    valued = [e for e in same if not e["type"].endswith("_type")] or same
    told = " or ".join(dict.fromkeys(_lower(e["msg"]) for e in valued))
    return ApiError(400, f"{place[0]}: {told}", param=place[0])


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def add_handlers(app: FastAPI) -> None:
    """Every error leaves the app in this form."""

    async def handle(_: Request, error: Exception) -> JSONResponse:
        return from_exception(error).response()

    for kind in (ApiError, InkhornError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, handle)


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": about}
    for status, about in {
        400: "The request cannot be meant: a field is wrong, or beyond a limit.",
        401: "A key is needed, and none of the server's was given.",
        404: "There is no such model or page.",
        413: "The body is too long.",
        429: "Too many texts wait, or too many requests came from you.",
        503: "The server is stopping, or a model failed.",
    }.items()
}
"""What every endpoint may answer beside its own."""
