"""The page switches parts of the model off, and shows which parts matter for a token."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from helpers.page import fits_width, generate, text, wait_finished
from helpers.web import export_tiny, static_server

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

Open = Callable[..., "Page"]


def open_grid(page: "Page") -> None:
    page.evaluate("document.querySelector('#interventions').open = true")


def switch(page: "Page", part: str) -> None:
    page.get_by_role("button", name=f"Switch off {part}", exact=True).click()


def changed_request(page: "Page", part: str) -> dict[str, Any]:
    """The body of the request that a click on a switch sends."""
    with page.expect_request("**/v1/completions") as request:
        switch(page, part)
    body = request.value.post_data_json
    assert isinstance(body, dict)
    return body


def test_original_and_changed_text_side_by_side(open_page: Open) -> None:
    page = open_page()
    original = generate(page)
    open_grid(page)
    body = changed_request(page, "layer 1, head 3")
    wait_finished(page, 1)
    assert body["interventions"] == [{"component": "head", "layer": 0, "head": 2}]
    assert (body["seed"], body["prompt"]) == (7, "ROMEO:")
    assert text(page) == original
    changed = text(page, 1)
    assert changed != original
    assert page.locator(".sample h2").all_inner_texts() == ["Sample 1", "Changed without L1H3"]
    body = changed_request(page, "layer 2, MLP")
    wait_finished(page, 1)
    assert body["interventions"] == [{"component": "head", "layer": 0, "head": 2}, {"component": "mlp", "layer": 1}]
    assert text(page, 1) != changed
    page.get_by_role("button", name="Switch everything on").click()
    page.locator(".sample").nth(1).wait_for(state="detached")
    assert text(page) == original


def test_generate_with_parts_off_shows_both_texts(open_page: Open) -> None:
    page = open_page()
    open_grid(page)
    switch(page, "layer 1, head 3")
    original = generate(page)
    wait_finished(page, 1)
    assert text(page, 1) != original
    page.reload()
    page.locator(".sample").nth(1).wait_for()  # both are kept, and the second one still says what it is
    assert page.locator(".sample h2").nth(1).inner_text().startswith("Changed")
    assert text(page) == original


def inspect_and_compute(page: "Page") -> None:
    page.locator(".text-view").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Compute").click()
    page.locator(".panel.importance table").wait_for()


def test_what_matters_here(open_page: Open) -> None:
    page = open_page()
    generate(page)
    inspect_and_compute(page)
    cells = page.locator(".panel.importance table button")
    assert cells.count() == 8 * 6
    cells.nth(2).focus()
    caption = page.locator(".panel.importance .caption").inner_text()
    assert caption.startswith("layer 1, head 3: without it the token becomes")
    assert "direct share of the logit" in caption
    cells.nth(2).click()
    assert cells.nth(2).get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="Close").click()
    wait_finished(page, 1)
    assert page.locator(".sample h2").nth(1).inner_text() == "Changed without L1H3"


def test_phone(open_page: Open) -> None:
    page = open_page(viewport={"width": 375, "height": 800}, has_touch=True, is_mobile=True)
    generate(page)
    open_grid(page)
    switch(page, "layer 1, head 3")
    wait_finished(page, 1)
    assert fits_width(page)


def test_static_page(open_page: Open, tmp_path: "Path") -> None:
    with static_server(export_tiny(tmp_path)) as url:
        page = open_page(url=url)
        original = generate(page, prompt="ab")
        open_grid(page)
        switch(page, "layer 1, MLP")
        wait_finished(page, 1)
        assert text(page, 1) != original
        inspect_and_compute(page)
        assert page.locator(".panel.importance table button").count() == 2 * 3
