"""A thread that explains texts, one at a time, beside generation."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from inkhorn.server.errors import ApiError
from inkhorn.server.model_registry import ServedModel
from inkhorn.server.schemas.requests import ExplainRequest
from inkhorn.server.settings import Settings
from inkhorn.server.streaming import with_timeout

MAX_WAITING = 16
MAX_BYTES_PER_TOKEN = 32
"""bound on the text of a token, to cut a long text before tokenizing it"""


class ExplainWorker:
    """Runs `inference.explain` in one thread with a bounded queue. The thread starts with the first request."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._waiting = 0

    async def explain(self, model: ServedModel, request: ExplainRequest, settings: Settings) -> dict[str, Any]:
        """The explanation of a text; ApiError 429 if too many requests wait, 408 if it takes too long."""
        if self._waiting >= MAX_WAITING:
            message = f"{self._waiting} explain requests are waiting: retry later"
            raise ApiError(429, message, code="queue_full", headers={"Retry-After": "1"})
        self._waiting += 1
        self._thread = self._thread or ThreadPoolExecutor(1, "inkhorn-explain")
        try:
            future = asyncio.get_running_loop().run_in_executor(self._thread, _explain, model, request, settings)
            return await with_timeout(settings.limits.max_seconds, future)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Stop the thread after the current request."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = None


def _explain(model: ServedModel, request: ExplainRequest, settings: Settings) -> dict[str, Any]:
    from inkhorn.inference.explain import MAX_POSITIONS, explain

    try:
        prompt = model.engine.encode_prompt(request.text[-MAX_POSITIONS * MAX_BYTES_PER_TOKEN :], settings.on_unknown)
    except UnicodeEncodeError:
        raise ApiError(400, "text: contains a lone surrogate, which is not valid Unicode", param="text") from None
    explanation = explain(model.reference, model.engine.tokenizer, prompt.token_ids, request.layer)
    return {"model": model.id} | explanation.to_json()
