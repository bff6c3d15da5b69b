"""Fixtures for tests of the web page."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers.page import Open, Serve
from helpers.server_process import run_server
from helpers.web import SHIPPED, export_tiny, save_bpe_checkpoint

from inkhorn.web.export import write_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

TIMEOUT = 20_000  # milliseconds, enough for a busy machine
REQUEST_FAILED = "Failed to load resource"  # Chromium's message about a failed request, which some tests provoke


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of a server with the shipped model."""
    with run_server() as process:
        yield process.url


@pytest.fixture(scope="module")
def bpe_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server with a small model with a byte-level BPE."""
    folder = save_bpe_checkpoint(tmp_path_factory.mktemp("bpe") / "letters")
    with run_server("--model", str(folder)) as process:
        yield process.url


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server for one test and gives what its context manager gives."""
    with ExitStack() as servers:
        yield servers.enter_context


@pytest.fixture
def open_page(browser: "Browser", server: str, serve: Serve) -> Iterator[Open]:
    """Opens the page as on a first visit; fails the test if the console shows an error or a warning.

    It depends on `serve` so that pages close before their servers: an open page may still send a request.
    """
    contexts: list[BrowserContext] = []
    messages: list[str] = []

    def open_page(
        fragment: str = "", *, url: str = "", requests_fail: bool = False, wait: bool = True, **settings: Any
    ) -> "Page":
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings}))
        page = contexts[-1].new_page()
        page.set_default_timeout(TIMEOUT)
        page.on("pageerror", lambda error: messages.append(str(error)))

        def record(kind: str, text: str) -> None:
            if kind in ("error", "warning") and not (requests_fail and REQUEST_FAILED in text):
                messages.append(text)

        page.on("console", lambda message: record(message.type, message.text))
        page.goto(f"{url or server}/{fragment}")
        if wait:
            page.locator("#about", has_text="parameters").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []


@pytest.fixture(scope="module")
def shipped_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported page with the shipped model."""
    out = tmp_path_factory.mktemp("shipped") / "site"
    write_site(SHIPPED, "shakespeare", out)
    return out


@pytest.fixture(scope="module")
def tiny_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported page of a small model; its checkpoint is in the sibling folder `checkpoint`."""
    return export_tiny(tmp_path_factory.mktemp("tiny"))
