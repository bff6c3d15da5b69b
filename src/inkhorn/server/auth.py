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
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    header: Annotated[str | None, Security(_header)],
) -> str | None:
    """The API key of a request; ApiError 401 if it is missing or wrong. None if the server requires no key."""
    keys = context.settings.api_keys
    if not keys:
        return None
    key = bearer.credentials.strip() if bearer is not None else header or ""
    # All keys are compared, each in constant time, so that timing reveals nothing about them.
    if not sum(hmac.compare_digest(key.encode(), valid.encode()) for valid in keys):
        message = "invalid API key" if key else "missing API key: send the header Authorization: Bearer KEY"
        raise ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
    return key


async def limit_rate(context: Context, request: Request, key: Annotated[str | None, Depends(require_api_key)]) -> None:
    """Apply the rate limit to the client: its API key, or its address if the server requires no key."""
    address = request.client.host if request.client is not None else ""
    context.rate_limiter.check(key or address)
