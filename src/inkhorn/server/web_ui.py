"""The web UI: the page with the facts of the default model, the API reference, and an answer to mistyped URLs."""

from urllib.parse import urlencode

from anyio.to_thread import run_sync
from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.types import Scope

from inkhorn.inspection.atlas import PAGE
from inkhorn.inspection.atlas_page import POLICY, atlas_page
from inkhorn.server.errors import ApiError
from inkhorn.server.model_registry import ModelRegistry
from inkhorn.server.route_table import WEB_UI, static_pages
from inkhorn.server.settings import Settings
from inkhorn.web import STATIC_DIR
from inkhorn.web.facts import PageFacts
from inkhorn.web.html import render_not_found, render_page


class _PageFiles(StaticFiles):
    def __init__(self, facts: PageFacts) -> None:
        super().__init__(directory=STATIC_DIR)
        self._page = render_page(facts, "server")

    async def get_response(self, path: str, scope: Scope) -> Response:
        if path in (".", "index.html"):
            return HTMLResponse(self._page)
        return await super().get_response(path, scope)


def shows_atlas(settings: Settings) -> bool:
    """Whether the head atlas is a page: it quotes a text of the owner, and a link cannot send an API key."""
    return settings.web_ui and not settings.api_keys


def atlas_address(model: str) -> str:
    """The address of a model's head atlas, relative to the page."""
    return f"{PAGE}?{urlencode({'model': model})}"


def mount_web_ui(app: FastAPI, models: ModelRegistry, settings: Settings) -> dict[str, str]:
    """Serve the page at /, the API reference at /docs, and the head atlas; returns the handler of each path."""
    pages = static_pages(STATIC_DIR) | {"/docs": WEB_UI}

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(STATIC_DIR / "docs.html", media_type="text/html")

    if shows_atlas(settings):
        pages[f"/{PAGE}"] = WEB_UI

        @app.get(f"/{PAGE}", include_in_schema=False)
        async def atlas(model: str | None = None) -> HTMLResponse:
            entry = await models.find(model)
            page = await run_sync(lambda: atlas_page(entry.atlas(), entry.page().title, "./"))
            return HTMLResponse(page, headers={"content-security-policy": f"{POLICY}; frame-ancestors 'none'"})

    app.mount("/", GZipMiddleware(_PageFiles(models.default.page())), name=WEB_UI)
    return pages


def not_found_page(error: Exception, scope: Scope) -> Response | None:
    """The page for a browser that asks for a path that does not exist; None for other errors and programs."""
    if not isinstance(error, ApiError) or error.code != "unknown_url" or scope["method"] not in ("GET", "HEAD"):
        return None
    if "text/html" not in Headers(scope=scope).get("accept", ""):
        return None
    path: str = scope["path"]
    return HTMLResponse(render_not_found(path, "../" * (path.count("/") - 1) or "./"), 404)
