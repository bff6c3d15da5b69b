"""FastAPI application factory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

import inkhorn
from inkhorn.server.context import AppContext
from inkhorn.server.errors import add_exception_handlers
from inkhorn.server.explain_worker import ExplainWorker
from inkhorn.server.metrics import Metrics
from inkhorn.server.middleware import RequestMiddleware
from inkhorn.server.model_registry import ModelRegistry
from inkhorn.server.openapi import openapi_document
from inkhorn.server.rate_limit import RateLimiter
from inkhorn.server.routes import chat, completions, explain, health, models
from inkhorn.server.settings import Settings
from inkhorn.web import STATIC_DIR

DESCRIPTION = "OpenAI-compatible API of Inkhorn's engine. Error responses have OpenAI's format."


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
        explain_worker=ExplainWorker(),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.ready = True
        yield
        context.explain_worker.close()

    app = FastAPI(
        title="Inkhorn",
        version=inkhorn.__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.ready, app.state.context = False, context
    add_exception_handlers(app)
    for module in (completions, chat, models, explain, health):
        app.include_router(module.router)
    _customize_openapi(app, key_required=bool(settings.api_keys))
    if settings.web_ui:
        _add_web_ui(app)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["GET", "POST"], allow_headers=["*"]
        )
    app.add_middleware(RequestMiddleware, settings=settings, metrics=context.metrics)
    return app


def _customize_openapi(app: FastAPI, *, key_required: bool) -> None:
    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = openapi_document(app, key_required=key_required)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _add_web_ui(app: FastAPI) -> None:
    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(STATIC_DIR / "docs.html", media_type="text/html")

    app.mount("/", GZipMiddleware(StaticFiles(directory=STATIC_DIR, html=True)), name="web-ui")
