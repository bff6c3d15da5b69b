"""The built documentation site, below a path prefix: its links, its pages in Chromium, and the playground."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest
import reference_http
from helpers.page import fits_width
from helpers.paths import ROOT
from helpers.web import static_server

import inkhorn
from inkhorn.cli.main import COMMANDS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.slow
PREFIX = "inkhorn"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}
ABORTED = "net::ERR_ABORTED"
"""What a request ends with that was under way when the page was left."""
TIMEOUT = 120_000  # milliseconds; the first load starts the model


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it, in a folder named as the prefix."""
    if find_spec("mkdocs") is None or find_spec("material") is None:
        pytest.skip("MkDocs is not installed (pip install --group docs)")
    out = tmp_path_factory.mktemp("site") / PREFIX
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return out


class Links(HTMLParser):
    """The addresses in a page, and its anchors."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        """what the browser loads with the page"""
        self.linked: list[str] = []
        self.ids: set[str] = set()
        self.feed(markup)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.ids |= {value for name in ("id", "name") if (value := values.get(name))}
        if tag in ("script", "img", "iframe", "source") and values.get("src"):
            self.loaded.append(str(values["src"]))
        elif tag == "link" and values.get("href") and values.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(str(values["href"]))
        elif tag == "a" and values.get("href"):
            self.linked.append(str(values["href"]))


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    found = [path for path in site.rglob("*.html") if path.name != "404.html"]  # its addresses are absolute
    return {path: Links(path.read_text("utf-8")) for path in found}


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, Links]) -> None:
    loaded = {address for page in pages.values() for address in page.loaded}
    assert [address for address in loaded if urlsplit(address).scheme or address.startswith("/")] == []


def test_links_of_the_site(site: Path, pages: dict[Path, Links]) -> None:
    """Every address within the site has a file, and every fragment an anchor."""
    for path, page in pages.items():
        for address in (*page.loaded, *page.linked):
            parts = urlsplit(address)
            if parts.scheme or path.is_relative_to(site / "play"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_relative_to(site), f"{path}: {address}"
            assert target.is_file(), f"{path}: {address}"
            if parts.fragment and target in pages and not target.is_relative_to(site / "play"):
                assert unquote(parts.fragment) in pages[target].ids, f"{path}: {address}"


def test_references_are_in_the_site(site: Path) -> None:
    def text(page: str) -> str:
        return re.sub(r"<[^>]+>", "", (site / "reference" / page / "index.html").read_text("utf-8"))

    shown = {page: text(page) for page in ("cli", "python", "http", "configuration", "metrics")}
    assert all(f"inkhorn {command}" in shown["cli"] for command in COMMANDS)
    assert all(re.search(rf"\b{name}\b", shown["python"]) for name in inkhorn._HOME)
    assert all(name in shown["http"] for name, _ in reference_http.operations(reference_http.document()))
    assert "max_prompt_tokens" in shown["configuration"]
    assert "inkhorn:kv_cache_usage_perc" in shown["metrics"]


Open = Callable[..., "Page"]


@pytest.fixture
def open_page(browser: "Browser", site: Path) -> Iterator[Open]:
    """Opens a page below the prefix; fails the test if a request leaves the prefix or fails, or a script does."""
    problems: list[str] = []
    contexts: list[BrowserContext] = []

    def check(holds: bool, problem: str) -> None:
        if not holds:
            problems.append(problem)

    with static_server(site.parent) as url:

        def open_page(path: str, **settings: object) -> "Page":
            contexts.append(browser.new_context(**settings))  # type: ignore[arg-type]
            page = contexts[-1].new_page()
            page.set_default_timeout(TIMEOUT)
            inside = f"{url}/{PREFIX}/"
            page.on("request", lambda asked: check(asked.url.startswith((inside, "blob:")), asked.url))
            page.on("requestfailed", lambda asked: check(asked.failure == ABORTED, f"{asked.url}: {asked.failure}"))
            page.on("response", lambda found: check(found.status < 400, f"{found.status} {found.url}"))
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(inside + path)
            return page

        yield open_page
        for context in contexts:
            context.close()
    assert problems == []


@pytest.mark.browser
@pytest.mark.parametrize("settings", [{"color_scheme": "light"}, PHONE], ids=["desktop", "phone"])
def test_pages_fit(open_page: Open, settings: dict[str, object]) -> None:
    page = open_page("", **settings)
    for path in ("", "reference/cli/", "reference/http/", "explanation/leaderboard/", "serving/"):
        page.goto(page.url.split(f"/{PREFIX}/")[0] + f"/{PREFIX}/{path}")
        assert fits_width(page), path
        scheme = page.locator("body").get_attribute("data-md-color-scheme")
        assert scheme == ("slate" if settings.get("color_scheme") == "dark" else "default")


@pytest.mark.browser
def test_search(open_page: Open) -> None:
    page = open_page("getting-started/")
    page.locator("[data-md-component=search-query]").click()
    page.keyboard.type("kv_cache_usage_perc")
    page.locator(".md-search-result__link", has_text="Metrics").first.wait_for()


@pytest.mark.browser
@pytest.mark.parametrize("settings", [{}, PHONE], ids=["desktop", "phone"])
def test_playground(open_page: Open, settings: dict[str, object]) -> None:
    """The landing page opens it; it writes a text, and the inspector and the tour open."""
    page = open_page("", **settings)
    page.get_by_role("link", name="Open the playground").click()
    page.wait_for_url(f"**/{PREFIX}/play/")
    page.fill("[name=words]", "8")
    page.get_by_role("button", name="Generate").click()
    page.locator(".sample:not(.running) .details", has_text="seed").wait_for()
    assert len(page.locator(".text-view").first.inner_text().split()) >= 8
    page.locator(".text-view").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").locator(".lens-table tbody tr").first.wait_for()
    assert fits_width(page)
    page.keyboard.press("Escape")
    page.wait_for_function("!history.state?.inspector")  # closing goes back in the history, which takes a moment
    page.goto(page.url.split("#")[0] + "#tour")
    page.locator("#tour .actions .main").wait_for()
    assert fits_width(page)
