"""Settings of every test: offline, the same hypothesis examples each time, and no silent skips in CI."""

import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports transformers

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

settings.register_profile("inkhorn", derandomize=True, deadline=None, database=None, print_blob=False)
settings.load_profile("inkhorn")

ALLOWED_SKIPS = ("not on this machine:", "test data missing:")
"""Skip reasons that start like this name hardware, an operating system or data files, not a missing tool."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With INKHORN_NO_SKIPS=1, as in CI, fail a test that is skipped for a missing tool or file."""
    report = yield
    if os.environ.get("INKHORN_NO_SKIPS") == "1" and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(ALLOWED_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped, which INKHORN_NO_SKIPS forbids: {reason}"
    return report


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    from helpers.web import CHROMIUM, CHROMIUM_FLAGS  # here, because most tests need no page

    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (apt install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()
