"""Rate limiting with one token bucket per client."""

import time
from collections import OrderedDict
from dataclasses import dataclass

from inkhorn.server.errors import ApiError


@dataclass
class _Bucket:
    tokens: float
    updated: float


class RateLimiter:
    """Limits the requests per minute of each client.

    Args:
        per_minute: maximum requests per minute; None for no limit.
    """

    MAX_CLIENTS = 10_000

    def __init__(self, per_minute: int | None) -> None:
        self._per_minute = per_minute
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def check(self, client: str) -> None:
        """Count a request of a client; ApiError 429 if it exceeds the limit."""
        if self._per_minute is None:
            return
        now, rate = time.monotonic(), self._per_minute / 60
        bucket = self._buckets.setdefault(client, _Bucket(self._per_minute, now))
        self._buckets.move_to_end(client)
        if len(self._buckets) > self.MAX_CLIENTS:  # the least recent client most likely has a full bucket
            self._buckets.popitem(last=False)
        bucket.tokens = min(self._per_minute, bucket.tokens + (now - bucket.updated) * rate)
        bucket.updated = now
        if bucket.tokens < 1:
            wait = max(1, round((1 - bucket.tokens) / rate))
            message = f"rate limit of {self._per_minute} requests per minute exceeded: retry in {wait} s"
            raise ApiError(429, message, code="rate_limit", headers={"Retry-After": str(wait)})
        bucket.tokens -= 1
