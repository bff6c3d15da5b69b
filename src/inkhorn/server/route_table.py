"""Which paths exist, and with which methods: for 404 and 405 errors, and the `handler` of the metrics."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter
from fastapi.routing import APIRoute

from inkhorn.server.errors import ApiError

WEB_UI = "web-ui"
"""Handler of all files of the web UI."""


@dataclass(frozen=True)
class Endpoint:
    handler: str
    """the path with its parameters, such as /v1/models/{model_id}"""
    methods: frozenset[str]


class RouteTable:
    """The endpoints of the routers, and single paths.

    Args:
        routers: their routes; several routes may have one path.
        pages: further paths that answer GET, with their handler.
    """

    def __init__(self, routers: Iterable[APIRouter], pages: Mapping[str, str]) -> None:
        patterns: dict[str, re.Pattern[str]] = {}
        methods: dict[str, set[str]] = {}
        for router in routers:
            for route in router.routes:
                if isinstance(route, APIRoute):
                    patterns[route.path_format] = route.path_regex
                    methods.setdefault(route.path_format, set()).update(route.methods or ())
        self._patterns = [(patterns[path], self._endpoint(path, found)) for path, found in methods.items()]
        self._pages = {path: self._endpoint(handler, {"GET"}) for path, handler in pages.items()}

    @staticmethod
    def _endpoint(handler: str, methods: set[str]) -> Endpoint:
        return Endpoint(handler, frozenset(methods | ({"HEAD"} if "GET" in methods else set())))

    def find(self, path: str) -> Endpoint | None:
        """The endpoint of a path; None if there is none."""
        if path in self._pages:
            return self._pages[path]
        return next((endpoint for pattern, endpoint in self._patterns if pattern.match(path)), None)

    def check(self, method: str, path: str) -> None:
        """Raise ApiError 404 for an unknown path, 405 for a method that the path does not accept."""
        endpoint = self.find(path)
        if endpoint is None:
            raise ApiError(404, f"unknown request URL: {method} {path}", code="unknown_url")
        if method not in endpoint.methods:
            allowed = ", ".join(sorted(endpoint.methods))
            raise ApiError(
                405,
                f"{path} does not accept {method}; it accepts {allowed}",
                code="method_not_allowed",
                headers={"Allow": allowed},
            )


def static_pages(folder: Path) -> dict[str, str]:
    """The paths of the web UI's files, with their handler."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files = (name for name in names if name != "not_found.html" and not name.startswith("watch/"))  # see web/watch.py
    return dict.fromkeys(["/", *(f"/{file}" for file in files)], WEB_UI)
