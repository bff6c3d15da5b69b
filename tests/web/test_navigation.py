"""Reload, Back and Forward lose no text, and Back closes the inspector."""

from typing import TYPE_CHECKING

import pytest
from helpers.page import Open, generate, text, wait_finished

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def tour_and_back(page: "Page") -> None:
    page.get_by_role("link", name="How it works").click()
    page.locator("#tour .panel").wait_for()
    page.go_back()
    page.locator("#playground").wait_for()


def texts(page: "Page", count: int) -> list[str]:
    page.locator(".sample:not(.running)").nth(count - 1).wait_for()
    return [text(page, sample) for sample in range(count)]


def continue_text(page: "Page") -> None:
    page.get_by_role("button", name="Continue").first.click()
    page.locator(".sample.running").first.wait_for(state="detached")


def test_reload_keeps_texts_and_tokens(open_page: Open) -> None:
    page = open_page()
    generate(page, samples=3, words=8)
    before = texts(page, 3)
    page.reload()
    assert texts(page, 3) == before
    page.locator(".text-view").first.focus()
    page.keyboard.press("End")
    assert page.locator(".tooltip li").count() >= 5  # the alternatives, too
    continue_text(page)
    assert text(page).startswith(before[0])
    assert len(text(page)) > len(before[0])


def test_back_to_a_shared_text_keeps_its_continuation_and_the_others(open_page: Open) -> None:
    page = open_page()
    generate(page, samples=3, words=5)
    page.get_by_role("button", name="Share").nth(1).click()
    shared = page.evaluate("location.hash")
    assert "part=" in shared
    continue_text(page)
    before = texts(page, 3)
    tour_and_back(page)
    assert page.evaluate("location.hash") == shared
    assert texts(page, 3) == before
    page.reload()
    assert texts(page, 3) == before


def test_a_link_in_the_same_tab_replaces_no_text_for_good(open_page: Open) -> None:
    page = open_page()
    first = generate(page, words=5)
    link = "#prompt=JULIET%3A&model=shakespeare&weights=x&part=6_0.8_0_1_0_3"
    page.evaluate("link => { location.hash = link; }", link)
    page.locator(".text-view", has_text="Juliet").or_(page.locator(".text-view", has_text="JULIET")).wait_for()
    wait_finished(page)
    second = text(page)
    assert second.startswith("JULIET:")
    page.go_back()
    page.locator(".text-view", has_text="ROMEO").wait_for()
    assert texts(page, 1) == [first]
    page.go_forward()
    page.locator(".text-view", has_text="JULIET").wait_for()
    assert texts(page, 1) == [second]


def test_regenerated_text_survives_its_old_link(open_page: Open) -> None:
    page = open_page()
    generate(page, words=5)
    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Regenerate").click()
    page.locator(".sample.running").wait_for(state="detached")
    before = texts(page, 1)
    tour_and_back(page)
    assert texts(page, 1) == before
    page.reload()
    assert texts(page, 1) == before


def test_reload_during_generation_keeps_what_was_written(open_page: Open) -> None:
    page = open_page()
    page.fill("[name=words]", "5000")
    page.click("button[type=submit]")
    page.locator(".text-view .line").nth(5).wait_for()
    page.reload()
    (kept,) = texts(page, 1)
    assert len(kept) > 20
    page.fill("[name=words]", "5")
    continue_text(page)
    assert text(page).startswith(kept)


def test_back_closes_the_inspector(open_page: Open) -> None:
    page = open_page()
    written = generate(page, words=5)
    dialog = page.locator("dialog[open]")
    for close in (page.go_back, lambda: page.keyboard.press("Escape")):
        page.locator(".text-view").focus()
        page.keyboard.press("Home")
        page.keyboard.press("Enter")
        dialog.locator(".lens-table").wait_for()
        close()
        dialog.wait_for(state="detached")
        assert texts(page, 1) == [written]
    page.go_forward()
    dialog.locator(".lens-table").wait_for()
    page.reload()  # the inspector is open again
    dialog.locator(".lens-table").wait_for()
    dialog.get_by_role("button", name="Close").click()
    dialog.wait_for(state="detached")
    tour_and_back(page)
    assert texts(page, 1) == [written]
