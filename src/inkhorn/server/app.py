"""FastAPI application factory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio import CapacityLimiter
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

import inkhorn
from inkhorn.server.context import AppContext
from inkhorn.server.errors import add_exception_handlers
from inkhorn.server.metrics import Metrics
from inkhorn.server.middleware import GuardMiddleware, RequestMiddleware
from inkhorn.server.model_registry import ModelRegistry
from inkhorn.server.rate_limit import RateLimiter
from inkhorn.server.route_table import RouteTable
from inkhorn.server.routes import chat, completions, explain, health, models, responses
from inkhorn.server.settings import Settings
from inkhorn.server.web_ui import mount_web_ui

DESCRIPTION = "OpenAI-compatible API of Inkhorn's engine. Error responses have OpenAI's format."


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, corrected where FastAPI's differs from the server's behavior.

        FastAPI lists status 422 for every route with parameters; this server answers 400, which the routes declare.
        Where the server requires no API key, the security schemes are optional.
        """
        if self.openapi_schema is None:
            document = super().openapi()
            for operations in document["paths"].values():
                for operation in operations.values():
                    operation["responses"].pop("422", None)
                    if "security" in operation and not self.state.context.settings.api_keys:
                        operation["security"].append({})
            for unused in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(unused, None)
        return super().openapi()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.ready = True
    yield


def create_app(registry: ModelRegistry, settings: Settings | None = None) -> FastAPI:
    """Create the application. It does not close the models.

    Args:
        registry: the served models.
        settings: API keys, limits and options.
    """
    settings = settings or Settings()
    context = AppContext(
        models=registry,
        settings=settings,
        metrics=Metrics(registry),
        rate_limiter=RateLimiter(settings.limits.rate_limit),
        explain_limiter=CapacityLimiter(1),
    )
    app = _Application(
        title="Inkhorn",
        version=inkhorn.__version__,
        description=DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.ready, app.state.context = False, context
    add_exception_handlers(app)
    routers = [module.router for module in (completions, chat, responses, models, explain, health)]
    for router in routers:
        app.include_router(router)
    pages = {"/openapi.json": "/openapi.json"}
    if settings.web_ui:
        pages |= mount_web_ui(app, registry, settings)
    routes = RouteTable(routers, pages)
    app.add_middleware(GuardMiddleware, settings=settings, routes=routes)  # the first is the innermost
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["*"],
            expose_headers=["Retry-After", "WWW-Authenticate", "X-Request-Id", "X-Should-Retry"],
        )
    app.add_middleware(RequestMiddleware, metrics=context.metrics, routes=routes)
    return app
