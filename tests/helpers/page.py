"""Using the web page in Chromium."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[..., "Page"]


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
