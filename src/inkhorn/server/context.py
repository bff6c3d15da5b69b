"""Shared objects of the routes: models, settings and services of one application."""

from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from inkhorn.server.metrics import Metrics
from inkhorn.server.model_registry import ModelRegistry
from inkhorn.server.rate_limit import RateLimiter
from inkhorn.server.settings import Settings


@dataclass(frozen=True)
class AppContext:
    """The shared objects of one application, stored in `app.state.context`."""

    models: ModelRegistry
    settings: Settings
    metrics: Metrics
    rate_limiter: RateLimiter
    explain_limiter: CapacityLimiter


async def get_context(request: Request) -> AppContext:
    context: AppContext = request.app.state.context
    return context


Context = Annotated[AppContext, Depends(get_context)]
"""Parameter of a route or dependency that takes the application's context."""
