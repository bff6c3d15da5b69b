"""Authentication by API key, as dependencies of the routes."""

import hmac
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from inkhorn.server.context import Context
from inkhorn.server.errors import ApiError

_bearer = HTTPBearer(auto_error=False, description="Authorization: Bearer KEY")
_header = APIKeyHeader(name="X-Api-Key", auto_error=False, description="X-Api-Key: KEY")


async def require_api_key(
    context: Context,
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    header: Annotated[str | None, Security(_header)],
) -> str | None:
    """The API key of a request; ApiError 401 if it is missing or wrong. None if the server requires no key."""
    keys = context.settings.api_keys
    if not keys:
        return None
    key = bearer.credentials.strip() if bearer is not None else header or ""
    sent = key.encode("latin-1", "replace")  # the bytes of the header
    # All keys are compared, each in constant time, so that timing reveals nothing about them. Clients send a key with
    # other characters than ASCII in UTF-8 or Latin-1.
    spellings = [valid.encode(encoding, "replace") for valid in keys for encoding in ("utf-8", "latin-1")]
    if not sum(hmac.compare_digest(sent, spelling) for spelling in spellings):
        context.rate_limiter.check(f"address {_address(request)}")  # so that keys cannot be guessed at any speed
        message = "invalid API key" if key else "missing API key: send the header Authorization: Bearer KEY"
        raise ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
    return key


async def limit_rate(context: Context, request: Request, key: Annotated[str | None, Depends(require_api_key)]) -> None:
    """Apply the rate limit to the client: its API key, or its address if the server requires no key."""
    context.rate_limiter.check(f"address {_address(request)}" if key is None else f"key {key}")


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""
