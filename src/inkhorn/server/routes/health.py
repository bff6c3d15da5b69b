"""Health checks, version and metrics."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

import inkhorn
from inkhorn.inference.engine_loop import describe
from inkhorn.server.context import Context
from inkhorn.server.errors import ApiError, error_responses
from inkhorn.server.routes import API_KEY
from inkhorn.server.schemas import responses

router = APIRouter(tags=["monitoring"])


@router.get("/health", responses=error_responses(503))
async def health(context: Context) -> responses.Health:
    """Liveness: the server responds, and its engines work. 503 once an engine has failed: restart the server."""
    failed = context.models.failed()
    if failed is not None:
        reason = describe(failed.engine.failure) if failed.engine.failure else ""
        raise ApiError(503, f"the engine of model {failed.id} has failed: {reason}", code="engine_failed")
    return responses.Health(status="ok")


@router.get("/health/ready", responses=error_responses(503))
async def ready(request: Request, context: Context) -> responses.Health:
    """Readiness: the server accepts requests.

    503 while it starts or shuts down, while a queue is full, and once an engine has failed.
    """
    await health(context)
    if not request.app.state.ready:
        raise ApiError(503, "the server is starting or shutting down")
    for model in context.models.loaded():
        if model.engine.request_counts[1] >= model.engine.max_queued:
            raise ApiError(503, f"the queue of model {model.id} is full", headers={"Retry-After": "1"})
    return responses.Health(status="ok")


@router.get("/version")
async def version() -> responses.Version:
    """The version of Inkhorn."""
    return responses.Version(version=inkhorn.__version__)


@router.get("/metrics", response_class=Response, responses=error_responses(401), dependencies=API_KEY)
async def metrics(context: Context) -> Response:
    """Metrics in Prometheus' text format."""
    return Response(context.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
