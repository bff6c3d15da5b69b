"""`POST /api/explain`: the model's intermediate values, for the web UI's inspector."""

from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter

from inkhorn.inference.explain import MAX_POSITIONS
from inkhorn.inference.explain import explain as explain_tokens
from inkhorn.server.context import Context
from inkhorn.server.errors import ApiError, error_responses
from inkhorn.server.routes import API_KEY_AND_RATE_LIMIT
from inkhorn.server.schemas.requests import ExplainRequest
from inkhorn.server.streaming import with_timeout
from inkhorn.server.validation import shorten, unknown_fields

MAX_WAITING = 16
MAX_BYTES_PER_TOKEN = 32
"""bound on the text of a token, to cut a long text before tokenizing it"""

router = APIRouter(tags=["inspection"], dependencies=API_KEY_AND_RATE_LIMIT)


@router.post("/api/explain", responses=error_responses(400, 401, 404, 408, 413, 429), response_model=None)
async def explain(body: ExplainRequest, context: Context) -> dict[str, Any]:
    """Inspect the model on a text: attention weights, logit lens, residual stream and next-token probabilities."""
    model, settings = context.models.lookup(body.model), context.settings
    load = context.explain_limiter.statistics()  # texts are explained one at a time, beside generation
    if (waiting := load.borrowed_tokens + load.tasks_waiting) >= MAX_WAITING:
        message = f"{waiting} explain requests are waiting: retry later"
        raise ApiError(429, message, code="queue_full", headers={"Retry-After": "1"})

    def run() -> dict[str, Any]:
        text = body.text[-MAX_POSITIONS * MAX_BYTES_PER_TOKEN :]
        engine = model.engine
        prompt = engine.encode_prompt(text, settings.on_unknown)
        token_ids = prompt.token_ids
        if body.add_special_tokens and prompt.text:  # an empty prompt is the start token already
            token_ids = engine.encode_prompt("").token_ids + token_ids
        return explain_tokens(model.reference, engine.tokenizer, token_ids, body.layer).to_json()

    thread = run_sync(run, limiter=context.explain_limiter, abandon_on_cancel=True)
    try:
        explanation = await with_timeout(settings.limits.max_seconds, thread)
    except UnicodeEncodeError:
        raise ApiError(400, "text: contains a lone surrogate, which is not valid Unicode", param="text") from None
    warnings = shorten(unknown_fields(body))
    return {"model": model.id} | explanation | ({"warnings": warnings} if warnings else {})
