"""Shared objects of the routes: models, settings and services of one application."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from inkhorn.server.metrics import Metrics
from inkhorn.server.model_registry import ModelRegistry
from inkhorn.server.rate_limit import RateLimiter
from inkhorn.server.served_model import ServedModel
from inkhorn.server.settings import Settings


@dataclass(frozen=True)
class AppContext:
    """The shared objects of one application, stored in `app.state.context`."""

    models: ModelRegistry
    settings: Settings
    metrics: Metrics
    rate_limiter: RateLimiter
    explain_limiter: CapacityLimiter


@dataclass(frozen=True)
class RequestContext(AppContext):
    """The shared objects, and what is released when the request has ended."""

    resources: ExitStack

    async def use_model(self, name: str | None) -> ServedModel:
        """The model that the request names, loaded; it stays loaded until the request has ended. Raises ApiError."""
        model = await self.models.acquire(name)
        self.resources.callback(self.models.release, model.id)
        return model


async def get_context(request: Request) -> RequestContext:
    context: AppContext = request.app.state.context
    return RequestContext(**vars(context), resources=request.state.resources)


Context = Annotated[RequestContext, Depends(get_context)]
"""Parameter of a route or dependency that takes the application's context."""
