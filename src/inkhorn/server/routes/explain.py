"""`POST /api/explain`: the model's intermediate values, for the web UI's inspector."""

from typing import Any

from fastapi import APIRouter

from inkhorn.server.context import Context
from inkhorn.server.errors import error_responses
from inkhorn.server.routes import API_KEY_AND_RATE_LIMIT
from inkhorn.server.schemas.requests import ExplainRequest

router = APIRouter(tags=["inspection"], dependencies=API_KEY_AND_RATE_LIMIT)


@router.post("/api/explain", responses=error_responses(400, 401, 404, 408, 413, 429), response_model=None)
async def explain(body: ExplainRequest, context: Context) -> dict[str, Any]:
    """Inspect the model on a text: attention weights, logit lens, residual stream and next-token probabilities."""
    return await context.explain_worker.explain(context.models.lookup(body.model), body, context.settings)
