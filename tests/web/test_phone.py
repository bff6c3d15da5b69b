"""The page on a phone, and what it shows while it waits."""

from typing import TYPE_CHECKING

import pytest
from helpers.page import Open, Serve, fits_width, generate
from helpers.web import static_server

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Route

pytestmark = pytest.mark.browser

CONTROLS = "button, select, summary, input:not([type=radio]), textarea, .radio-group label"
SMALL = f"""() => [...document.querySelectorAll('{CONTROLS}')]
    .filter(one => one.checkVisibility() && one.getBoundingClientRect().height < 44 && one.type !== 'checkbox')
    .map(one => one.outerHTML)"""


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
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


def test_tap_shows_alternatives_and_a_second_tap_inspects(open_page: Open) -> None:
    page = open_page(viewport={"width": 375, "height": 812}, has_touch=True, is_mobile=True)
    assert page.get_by_text("Tap a token to see the alternatives. Tap it again").is_visible()
    generate(page, words=5)
    text, tooltip = page.locator(".text-view"), page.locator(".tooltip")

    def tap_character(index: int) -> str:
        """Tap a character of the generated text, which is returned."""
        point = page.evaluate(
            """index => {
                const walker = document.createTreeWalker(document.querySelector(".text-view"), NodeFilter.SHOW_TEXT);
                for (let node; (node = walker.nextNode()); index -= node.length) {
                    if (index >= node.length) continue;
                    const range = document.createRange();
                    range.setStart(node, index);
                    range.setEnd(node, index + 1);
                    const { x, y, width, height } = range.getBoundingClientRect();
                    return { x: x + width / 2, y: y + height / 2, character: range.toString() };
                }
            }""",
            index,
        )
        page.touchscreen.tap(point["x"], point["y"])
        return str(point["character"])

    text.scroll_into_view_if_needed()
    first = tap_character(8)
    tooltip.wait_for()
    assert first in tooltip.locator("b").first.inner_text().replace("␣", " ")
    assert tooltip.locator("li").count() >= 5
    assert tooltip.get_by_text("Tap again to inspect.").is_visible()
    second = tap_character(24)  # another token: its alternatives, not the inspector
    assert second in tooltip.locator("b").first.inner_text().replace("␣", " ")
    assert page.locator("dialog[open]").count() == 0
    tap_character(24)
    page.locator("dialog .lens-table").wait_for()
    assert tooltip.is_hidden()
    assert second in page.locator("dialog h2 b").inner_text().replace("␣", " ")
    assert page.get_by_text("Tap a token to inspect it").is_visible()


def test_inspector_shows_the_start_token_of_an_empty_prompt(open_page: Open) -> None:
    """The first token has a prediction, made from the start token, which is not part of the text."""
    page = open_page()
    generate(page, prompt="", words=3)
    page.locator(".text-view").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.locator(".lens-table").wait_for()
    assert dialog.locator(".tokens span").first.inner_text() == "↵"  # this model's start token
    assert dialog.locator(".tokens span").count() == 2
    first = dialog.locator("h2 b").inner_text()
    dialog.get_by_role("button", name="Next").click()
    dialog.locator(".tokens span").nth(2).wait_for()
    assert dialog.locator("h2 small").inner_text().strip().endswith(first)


def test_inspector_names_the_token_and_dims_while_it_waits(open_page: Open) -> None:
    page = open_page()
    generate(page, prompt="ROMEO:", words=5)
    waiting: list[Route] = []
    page.route("**/api/explain", lambda route: waiting.append(route))
    page.locator(".text-view .line").first.click(position={"x": 25, "y": 12})
    panels = page.locator("dialog .panels[aria-busy]")
    panels.locator(".panel h3").nth(4).wait_for()
    assert page.locator("dialog h2 b").inner_text() in "ROMEO:"
    waiting.pop().continue_()  # which tokens the prompt has
    while not waiting:
        page.wait_for_timeout(20)
    waiting.pop().continue_()
    page.locator("dialog .panels:not([aria-busy]) .lens-table").wait_for()
    page.get_by_role("group", name="Layer").get_by_label("2", exact=True).check(force=True)
    panels.wait_for()
    waiting.pop().continue_()
    page.locator('dialog .panels:not([aria-busy]) canvas[aria-label*="layer 2"]').wait_for()


def test_static_page_says_how_much_of_the_model_is_loaded(open_page: Open, shipped_site: "Path", serve: Serve) -> None:
    url = serve(static_server(shipped_site))
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
