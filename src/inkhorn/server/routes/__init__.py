"""The endpoints by topic. Each module has a `router`."""

from fastapi import Depends

from inkhorn.server.auth import limit_rate, require_api_key

API_KEY = [Depends(require_api_key)]
"""dependencies of routes that require an API key"""
API_KEY_AND_RATE_LIMIT = [Depends(limit_rate)]
"""dependencies of routes that require an API key and count towards the rate limit"""
