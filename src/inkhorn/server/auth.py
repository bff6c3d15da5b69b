"""Who may ask, and how often."""

import hmac
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from inkhorn.server.errors import ApiError

PUBLIC = ("/health", "/health/ready", "/version")
"""what answers without a key: that the server lives"""
GUARDED = ("/v1/", "/api/", "/tokenize", "/detokenize", "/tokenizer_info", "/metrics")
"""what asks for one; the page and its files do not, for they hold nothing that is secret"""


class Keys:
    """The keys that open the server; all are open where there are none.

    Args:
        keys: any number.

    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = [key.encode() for key in keys]

    def check(self, path: str, headers: Mapping[str, str]) -> None:
        """ApiError 401 unless the path is public or a key is given: Authorization: Bearer KEY, or X-Api-Key: KEY."""
        if not self._keys or path in PUBLIC or not path.startswith(GUARDED):
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = (token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")).encode()
        # Every key is compared, each in the same time however much of it is right.
        if not sum(hmac.compare_digest(given, key) for key in self._keys):
            message = "wrong API key" if given else "this server needs an API key: send Authorization: Bearer KEY"
            raise ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})


@dataclass
class _Bucket:
    tokens: float
    at: float


class RateLimit:
    """At most so many requests a minute for each client: a bucket that fills steadily, and holds a minute's worth.

    Args:
        per_minute: how many; None: as many as they like.

    """

    MOST_CLIENTS = 10_000

    def __init__(self, per_minute: int | None) -> None:
        self._per_minute = per_minute
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def check(self, client: str) -> None:
        """Count a request; ApiError 429 if it is one too many."""
        if self._per_minute is None:
            return
        now, fill = time.monotonic(), self._per_minute / 60
        bucket = self._buckets.setdefault(client, _Bucket(self._per_minute, now))
        self._buckets.move_to_end(client)
        if len(self._buckets) > self.MOST_CLIENTS:  # who was away longest has a full bucket, most likely
            self._buckets.popitem(last=False)
        bucket.tokens = min(self._per_minute, bucket.tokens + (now - bucket.at) * fill)
        bucket.at = now
        if bucket.tokens < 1:
            wait = max(1, round((1 - bucket.tokens) / fill))
            message = f"more than {self._per_minute} requests a minute: try again in {wait} s"
            raise ApiError(429, message, code="rate_limit", headers={"Retry-After": str(wait)})
        bucket.tokens -= 1
