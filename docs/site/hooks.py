"""MkDocs' hooks: the generated pages, the links out of docs/, and the playground.

Nothing that is generated is committed: the reference pages come from the code, at each build.
"""

import json
import os
import posixpath
import re
from collections.abc import Callable
from pathlib import Path

import links
import reference_cli
import reference_configuration
import reference_http
import reference_metrics
import reference_python
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from inkhorn import __version__
from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.web import STATIC_DIR
from inkhorn.web.export import write_site

GENERATED: dict[str, Callable[[], str]] = {
    "reference/cli.md": reference_cli.page,
    "reference/python.md": reference_python.page,
    "reference/http.md": reference_http.page,
    "reference/configuration.md": reference_configuration.page,
    "reference/metrics.md": reference_metrics.page,
}
PLAY = "<!-- site: play -->"
"""Where a page of docs/ has the button that opens the playground, which only the site contains."""
_COMMENT = re.compile(r"^<!-- .* -->\n", re.M)  # notes for tests/docs, such as why a block is not run


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Addresses from [project.urls] of pyproject.toml, GitHub's anchors, and the version menu in a versioned build."""
    urls = links.project_urls()
    config.site_url = config.site_url or urls.get("Documentation", "")
    config.repo_url = config.repo_url or urls.get("Repository")
    config.mdx_configs.setdefault("toc", {})["slugify"] = _slug
    if os.environ.get("MIKE_DOCS_VERSION"):  # the menu asks for versions.json, which only such a build has
        config.extra["version"] = {"provider": "mike", "default": "latest"}
    config.extra["release"] = __version__
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and a page for each file outside docs/ that a page links to."""
    for path, page in GENERATED.items():
        files.append(File.generated(config, path, content=page()))
    files.append(File.generated(config, "icon.svg", abs_src_path=str(STATIC_DIR / "icon.svg")))
    document = json.dumps(reference_http.document(), ensure_ascii=False, indent=1)
    files.append(File.generated(config, "reference/openapi.json", content=document))
    texts = {f"docs/{file.src_uri}": file.content_string for file in files.documentation_pages() if file.abs_src_path}
    waiting = [target for page, text in texts.items() for target in links.targets(text, page)] + list(links.PAGES)
    while waiting:
        path = waiting.pop()
        if files.get_file_from_path(links.site_path(path)) is not None:
            continue
        if path in links.PAGES:
            text = (links.ROOT / path).read_text(encoding="utf-8")
            waiting += links.targets(text, path)
            content = links.rewrite(text, path)
        else:
            content = links.source_page(path)
        files.append(File.generated(config, links.site_path(path), content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Rewrite the links of a page of docs/ that lead out of it."""
    if page.file.abs_src_path and Path(page.file.abs_src_path).is_relative_to(config.docs_dir):
        markdown = links.rewrite(markdown, f"docs/{page.file.src_uri}")
    play = posixpath.relpath("play", page.url.rstrip("/") or ".")
    button = f'<a class="md-button md-button--primary" href="{play}/">Open the playground</a>'
    return _COMMENT.sub("", markdown.replace(PLAY, button))


def on_post_build(config: MkDocsConfig) -> None:
    """Write the playground: the page whose model runs in the browser."""
    write_site(resolve_checkpoint("shakespeare"), "shakespeare", Path(config.site_dir, "play"))


def _slug(text: str, separator: str) -> str:
    """The anchor that GitHub gives a heading, so that links work in both places."""
    return re.sub(r"[^\w -]", "", text).lower().replace(" ", separator)
