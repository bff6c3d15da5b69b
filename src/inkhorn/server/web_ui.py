"""The web UI: the page with the facts of the default model, the API reference, and an answer to mistyped URLs."""

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.types import Scope

from inkhorn.server.errors import ApiError
from inkhorn.server.route_table import WEB_UI
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


def mount_web_ui(app: FastAPI, facts: PageFacts) -> None:
    """Serve the page at /, and the API reference at /docs."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(STATIC_DIR / "docs.html", media_type="text/html")

    app.mount("/", GZipMiddleware(_PageFiles(facts)), name=WEB_UI)


def not_found_page(error: Exception, scope: Scope) -> Response | None:
    """The page for a browser that asks for a path that does not exist; None for other errors and programs."""
    if not isinstance(error, ApiError) or error.code != "unknown_url" or scope["method"] not in ("GET", "HEAD"):
        return None
    if "text/html" not in Headers(scope=scope).get("accept", ""):
        return None
    path: str = scope["path"]
    return HTMLResponse(render_not_found(path, "../" * (path.count("/") - 1) or "./"), 404)
