"""The page on a phone, and what it shows while it waits."""

from typing import TYPE_CHECKING

import pytest
from helpers.page import Open, fits_width, generate
from helpers.web import static_server

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Route

pytestmark = pytest.mark.browser

CONTROLS = "button, select, summary, input:not([type=radio]), textarea, .radio-group label"
SMALL = f"""() => [...document.querySelectorAll('{CONTROLS}')]
    .filter(one => one.checkVisibility() && one.getBoundingClientRect().height < 44 && one.type !== 'checkbox')
    .map(one => one.outerHTML)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_controls_fit_a_finger(open_page: Open, scheme: str) -> None:
    phone = {"viewport": {"width": 375, "height": 812}, "has_touch": True, "is_mobile": True, "color_scheme": scheme}
    page = open_page(**phone)
    page.locator("#sampling summary").click()
    assert page.evaluate(SMALL) == []
    assert fits_width(page)
    assert page.locator("kbd").first.is_hidden()  # no hints for a keyboard
    examples = page.locator("#examples").bounding_box()
    length = page.locator("[data-words]").first.bounding_box()
    assert examples is not None
    assert length is not None
    assert examples["y"] < length["y"]  # above the other settings
    generate(page, words=5)
    assert page.evaluate(SMALL) == []
    page.locator(".text-view").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.locator("dialog .lens-table").wait_for()
    assert page.evaluate(SMALL) == []
    assert page.get_by_role("dialog").evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")


def test_inspector_names_the_token_and_dims_while_it_waits(open_page: Open) -> None:
    page = open_page()
    generate(page, prompt="ROMEO:", words=5)
    waiting: list[Route] = []
    page.route("**/api/explain", lambda route: waiting.append(route))
    page.locator(".text-view .line").first.click(position={"x": 25, "y": 12})
    panels = page.locator("dialog .panels[aria-busy]")
    panels.locator(".panel h3").nth(4).wait_for()
    assert page.locator("dialog h2 b").inner_text() in "ROMEO:"
    waiting.pop().continue_()
    page.locator("dialog .panels:not([aria-busy]) .lens-table").wait_for()
    page.get_by_role("group", name="Layer").get_by_label("2", exact=True).check(force=True)
    panels.wait_for()
    waiting.pop().continue_()
    page.locator('dialog .panels:not([aria-busy]) canvas[aria-label*="layer 2"]').wait_for()


def test_static_page_says_how_much_of_the_model_is_loaded(open_page: Open, shipped_site: "Path") -> None:
    with static_server(shipped_site) as url:
        page = open_page(url=url, wait=False)
        waiting: list[Route] = []
        page.route("**/weights.bin", lambda route: waiting.append(route))
        page.reload()
        page.locator("#about", has_text="parameters").wait_for()
        page.fill("[name=words]", "3")
        page.click("button[type=submit]")
        detail = "{ detail: { loaded: 2.2e6, total: 1e7 } }"
        page.evaluate(f"dispatchEvent(new CustomEvent('inkhorn-progress', {detail}))")
        page.locator(".details", has_text="Loading the model: 22 % of 10.0 MB").wait_for()
        for route in waiting:
            route.continue_()
        page.locator(".details", has_text="seed").wait_for()
