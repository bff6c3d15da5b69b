"""`POST /api/explain`: a look inside, computed by the reference in a thread of its own, one at a time."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from inkhorn.server.errors import ApiError
from inkhorn.server.generation import find_model
from inkhorn.server.model_registry import Models, ServedModel
from inkhorn.server.schemas.requests import ExplainRequest
from inkhorn.server.settings import Settings
from inkhorn.server.streaming import within

MOST_WAITING = 16


class Looking:
    """The thread and its queue."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._waiting = 0

    async def explain(self, request: ExplainRequest, models: Models, settings: Settings) -> dict[str, Any]:
        """The answer; ApiError 429 when too many wait, 408 when it takes too long."""
        model = find_model(request.model, models)
        if self._waiting >= MOST_WAITING:
            message = f"{self._waiting} looks inside are waiting already: try again later"
            raise ApiError(429, message, code="queue_full", headers={"Retry-After": "1"})
        self._waiting += 1
        self._thread = self._thread or ThreadPoolExecutor(1, "inkhorn-explain")
        try:
            look = asyncio.get_running_loop().run_in_executor(self._thread, _look, model, request, settings)
            return await within(settings.limits.max_seconds, look)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the thread after what it is at."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = None


def _look(model: ServedModel, request: ExplainRequest, settings: Settings) -> dict[str, Any]:
    from inkhorn.inference.explain import MAX_POSITIONS, explain

    try:
        prompt = model.engine.prompt(request.text[-MAX_POSITIONS * 32 :], settings.on_unknown)
    except UnicodeEncodeError:
        raise ApiError(400, "text: it holds half of a character (a lone surrogate)", param="text") from None
    found = explain(model.reference, model.engine.tokenizer, prompt.ids, request.layer)
    return {"model": model.id} | found.to_json()
