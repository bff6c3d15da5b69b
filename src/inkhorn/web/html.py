"""The page's HTML with the facts of a model, which link previews and the first paint need before any script runs."""

import html
import re
from importlib import metadata
from typing import Literal

import inkhorn
from inkhorn.web import STATIC_DIR
from inkhorn.web.facts import PageFacts

_FIELD = re.compile(r"\{\{(\w+)\}\}")


def render_page(facts: PageFacts, mode: Literal["server", "static"]) -> str:
    """`index.html` for a server, or for a static site with the model in the browser."""
    links = ['<a href="docs">API reference</a>'] if mode == "server" else []
    if url := project_url():
        links.append(f'<a href="{html.escape(url)}">Project</a>')
    fields = {
        "mode": mode,
        "title": facts.title,
        "tagline": facts.tagline,
        "layout": facts.layout,
        "prompt": facts.prompt,
        "version": inkhorn.__version__,
    }
    return _fill("index.html", fields, links="".join(f" · {link}" for link in links))


def render_not_found(path: str, root: str) -> str:
    """The answer to a browser that asks for a path that does not exist. `root` is the page's path from there."""
    return _fill("not_found.html", {"path": path, "root": root})


def project_url() -> str | None:
    """The project's address, if its package names one."""
    try:
        urls = metadata.metadata("inkhorn").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        return None
    return next((url for _, _, url in (line.partition(", ") for line in urls) if url.startswith("https://")), None)


def _fill(name: str, fields: dict[str, str], **markup: str) -> str:
    """A file of the page with its {{fields}} replaced by text, or by markup."""
    values = {field: html.escape(value) for field, value in fields.items()} | markup
    return _FIELD.sub(lambda match: values[match[1]], (STATIC_DIR / name).read_text(encoding="utf-8"))
