"""Rate limiting with one token bucket per client."""

import time
from collections import OrderedDict

from inkhorn.server.errors import ApiError


class RateLimiter:
    """Limits the requests per minute of each client; None for no limit."""

    MAX_CLIENTS = 10_000

    def __init__(self, per_minute: int | None) -> None:
        self._per_minute = per_minute
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and the time of that count

    def check(self, client: str) -> None:
        """Count a request of a client; ApiError 429 if it exceeds the limit."""
        if self._per_minute is None:
            return
        now, rate = time.monotonic(), self._per_minute / 60
        tokens, updated = self._buckets.pop(client, (self._per_minute, now))
        tokens = min(self._per_minute, tokens + (now - updated) * rate)
        self._buckets[client] = tokens - (tokens >= 1), now
        if len(self._buckets) > self.MAX_CLIENTS:  # the least recent client most likely has a full bucket
            self._buckets.popitem(last=False)
        if tokens < 1:
            wait = max(1, round((1 - tokens) / rate))
            message = f"rate limit of {self._per_minute} requests per minute exceeded: retry in {wait} s"
            raise ApiError(429, message, code="rate_limit", headers={"Retry-After": str(wait)})
