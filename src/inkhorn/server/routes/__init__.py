"""The endpoints by topic. Each module has a `router`."""

from typing import Any

from fastapi import Depends

from inkhorn.server.auth import limit_rate, require_api_key
from inkhorn.server.errors import error_responses

API_KEY = [Depends(require_api_key)]
"""dependencies of routes that require an API key"""
API_KEY_AND_RATE_LIMIT = [Depends(limit_rate)]
"""dependencies of routes that require an API key and count towards the rate limit"""
GENERATION_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
    **error_responses(400, 401, 404, 408, 413, 429, 503),
}
"""`responses` of the routes that generate text, which may stream it"""
