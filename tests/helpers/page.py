"""Using the web page in Chromium."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[..., "Page"]
Serve = Callable[[AbstractContextManager[Any]], Any]


def generate(page: "Page", words: int = 12, prompt: str = "ROMEO:", samples: int = 1) -> str:
    """Fill in the form, generate, wait for the end; returns the text of the first sample."""
    page.evaluate("document.querySelector('#sampling').open = true")
    page.fill("[name=seed]", "7")  # the same text each time
    page.fill("[name=prompt]", prompt)
    page.fill("[name=words]", str(words))
    page.locator(f"[name=samples][value='{samples}']").check(force=True)
    page.click("button[type=submit]")
    for sample in range(samples):
        wait_finished(page, sample)
    return text(page)


def wait_finished(page: "Page", sample: int = 0) -> None:
    page.locator(".sample:not(.running) .details").nth(sample).wait_for()


def text(page: "Page", sample: int = 0) -> str:
    """The text, from the Save button."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Save").nth(sample).click()
    return download.value.path().read_text(encoding="utf-8").removesuffix("\n")


def fits_width(page: "Page") -> bool:
    """Whether the page has no horizontal overflow."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


needs_axe = pytest.mark.skipif(
    "INKHORN_AXE" not in os.environ, reason="INKHORN_AXE does not name axe.min.js (npm pack axe-core)"
)


def violations(page: "Page") -> list[str]:
    """Serious findings of axe-core; the page needs `bypass_csp`, because its policy forbids axe."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(Path(os.environ["INKHORN_AXE"]).read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    return [f"{one['id']}: {one['nodes']}" for one in found if one["impact"] in ("serious", "critical")]
