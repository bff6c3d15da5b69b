"""The page in Chromium with a real server.

INKHORN_AXE may name a file axe.min.js: then accessibility is checked too.
"""

import json
import re
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from helpers.page import Open, fits_width, generate, needs_axe, text, violations, wait_finished
from helpers.web import SHIPPED

from inkhorn.checkpoint.weights import read_config
from inkhorn.config.sampling import SamplingParams

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

pytestmark = pytest.mark.browser

LAYERS = read_config(SHIPPED).n_layer


def complete(server: str, **body: Any) -> str:
    request = urllib.request.Request(
        f"{server}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return str(json.load(answer)["choices"][0]["text"])


def test_generate_matches_api(open_page: Open, server: str) -> None:
    page = open_page()
    written = generate(page, words=12)
    same = {"seed": 7, "max_words": 12, "temperature": 0.8, "prompt": "ROMEO:"}
    assert written == "ROMEO:" + complete(server, **same)
    assert page.locator(".text-view").inner_text().split() == written.split()
    assert page.locator(".text-view .speaker").first.inner_text() == "ROMEO:"
    assert "seed 7" in page.locator(".details").inner_text()
    assert "finished" in page.locator("#status").inner_text()


def test_stop_then_continue(open_page: Open) -> None:
    page = open_page()
    page.fill("[name=words]", "5000")
    page.click("button[type=submit]")
    page.locator(".text-view .line").nth(4).wait_for()
    page.click("#stop")
    wait_finished(page)
    stopped = text(page)
    assert 20 < len(stopped) < 20_000
    assert page.locator("#status").inner_text().startswith("Sample 1 stopped")
    page.wait_for_timeout(100)
    assert text(page) == stopped
    page.fill("[name=words]", "5")
    page.get_by_role("button", name="Continue").click()
    wait_finished(page)
    longer = text(page)
    assert longer.startswith(stopped)
    assert 4 <= len(longer[len(stopped) :].split()) <= 6


def test_keyboard_shortcuts(open_page: Open) -> None:
    page = open_page()
    page.fill("[name=words]", "5000")
    page.locator("[name=prompt]").press("Control+Enter")
    page.locator(".sample.running").wait_for()
    page.keyboard.press("Escape")
    wait_finished(page)
    assert page.locator("#status").inner_text().startswith("Sample 1 stopped")


def test_regenerate_one_of_three_samples(open_page: Open) -> None:
    page = open_page()
    generate(page, samples=3)
    before = [text(page, sample) for sample in range(3)]
    assert len(set(before)) == 3
    page.get_by_role("button", name="Regenerate").nth(1).click()
    wait_finished(page, 2)
    after = [text(page, sample) for sample in range(3)]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]


def test_share_link_reproduces_text(open_page: Open) -> None:
    page = open_page()
    page.locator("[name=preset][value=creative]").check(force=True)
    page.fill("[name=words]", "5000")
    page.click("button[type=submit]")
    page.locator(".text-view .line").nth(3).wait_for()
    page.click("#stop")  # stopped, then continued with other settings
    wait_finished(page)
    page.locator("[name=preset][value=precise]").check(force=True)
    page.fill("[name=words]", "6")
    page.get_by_role("button", name="Continue").click()
    wait_finished(page)
    written = text(page)
    page.get_by_role("button", name="Share").click()
    fragment = page.evaluate("location.hash")

    other = open_page(fragment)
    wait_finished(other)
    other.locator("#status", has_text="finished").wait_for()
    assert text(other) == written
    assert other.input_value("[name=prompt]") == "ROMEO:"
    assert other.locator("#note").is_hidden()

    third = open_page(re.sub(r"weights=[^&]+", "weights=fp_other", fragment))
    assert "may differ" in third.locator("#note").inner_text()


def test_settings_come_from_sampling_params(open_page: Open) -> None:
    page = open_page()
    defaults = SamplingParams()
    for name in ("temperature", "top_k", "top_p", "min_p"):
        assert float(page.input_value(f"[name={name}]")) == getattr(defaults, name)
        assert page.locator(f"#{name}-help").text_content()
    bounds = "name => ['min', 'max'].map(bound => document.querySelector(`[name=${name}]`)[bound])"
    assert page.evaluate(bounds, "temperature") == ["0", "2"]
    assert page.evaluate(bounds, "top_p") == ["0.01", "1"]
    assert page.evaluate(bounds, "words") == ["1", str(2**31 - 1)]
    assert page.locator("[name=preset][value=balanced]").is_checked()


def test_settings_are_stored(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("button", name="a speech").click()
    page.locator("[name=preset][value=creative]").check(force=True)
    page.fill("[name=prompt]", "MACBETH:")
    page.reload()
    page.locator("#about", has_text="parameters").wait_for()
    assert page.input_value("[name=words]") == "60"
    assert page.input_value("[name=prompt]") == "MACBETH:"
    assert page.input_value("[name=temperature]") == "1.15"
    assert page.locator("[name=preset][value=creative]").is_checked()


def test_token_tooltip(open_page: Open) -> None:
    page = open_page()
    generate(page)
    page.locator("[name=shade]").check()
    assert page.locator("#legend").is_visible()
    box = page.locator(".line").nth(1).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 25, box["y"] + 12)
    page.locator(".tooltip li.selected").wait_for()
    assert page.locator(".tooltip li").count() >= 5
    page.mouse.move(5, 5)
    page.locator(".tooltip").wait_for(state="hidden")
    page.locator(".text-view").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.locator(".tooltip li.selected").wait_for()
    assert re.fullmatch(r".+, .*%", page.locator("#status").inner_text())


def test_inspector(open_page: Open) -> None:
    page = open_page()
    generate(page)
    page.locator(".text-view").focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    view = page.get_by_role("dialog")
    view.locator(".lens-table tbody tr").first.wait_for()
    assert view.locator(".lens-table tbody tr").count() == LAYERS + 1
    assert view.locator(".bars li").count() == 10
    assert view.locator(".chart polyline").count() == 1
    map_ = view.locator(".map-view canvas")
    assert f"layer {LAYERS // 2 + 1}, head 1" in str(map_.get_attribute("aria-label"))
    view.get_by_role("group", name="Layer").get_by_label("3", exact=True).check(force=True)
    view.get_by_role("group", name="Head").get_by_label("2", exact=True).check(force=True)
    view.locator('.map-view canvas[aria-label*="layer 3, head 2"]').wait_for()
    assert view.locator(".overlay path").count() > 0
    painted = "canvas => canvas.getContext('2d').getImageData(0, 0, 9, 9).data.some(value => value > 0)"
    assert map_.evaluate(painted)
    before = view.locator("h2").inner_text()
    view.get_by_role("button", name="Next").click()
    view.locator("h2", has_not_text=before).wait_for()
    page.keyboard.press("Escape")
    view.wait_for(state="hidden")


def test_retry_after_lost_server(open_page: Open) -> None:
    page = open_page(requests_fail=True)
    page.route("**/v1/completions", lambda route: route.abort())
    page.click("button[type=submit]")
    error_box = page.get_by_role("alert").filter(has_text="not responding")
    error_box.wait_for()
    page.unroute("**/v1/completions")
    page.fill("[name=words]", "5")
    error_box.get_by_role("button", name="Try again").click()
    page.locator(".details", has_text="seed").wait_for()
    assert error_box.is_hidden()


def respond(status: int, message: str, **headers: str) -> Callable[["Route"], None]:
    body = json.dumps({"error": {"message": message, "type": "t", "param": None, "code": None}})
    return lambda route: route.fulfill(
        status=status, body=body, headers={"content-type": "application/json", **headers}
    )


def test_error_messages(open_page: Open) -> None:
    page = open_page(requests_fail=True)
    for status, message, shown in (
        (429, "queue", "The server is busy. Try again in 3 seconds."),
        (400, "the prompt has 9 tokens; the limit is 8", "the prompt has 9 tokens; the limit is 8"),
        (500, "it broke", "Server error: it broke."),
    ):
        page.route("**/v1/completions", respond(status, message, **{"Retry-After": "3"}))
        page.click("button[type=submit]")
        page.get_by_role("alert").filter(has_text=shown).wait_for()
        page.unroute("**/v1/completions")


def test_interrupted_stream_keeps_text(open_page: Open) -> None:
    page = open_page()
    logprobs = {"tokens": ["H", "o"], "token_logprobs": [-0.1, -2.5], "top_logprobs": [{"H": -0.1}, {"o": -2.5}]}
    chunk = {"system_fingerprint": "fp", "choices": [{"text": "Ho", "logprobs": logprobs, "finish_reason": None}]}
    page.route("**/v1/completions", lambda route: route.fulfill(status=200, body=f"data: {json.dumps(chunk)}\n\n"))
    page.click("button[type=submit]")
    page.get_by_role("alert").filter(has_text="connection was lost").wait_for()
    assert text(page) == "ROMEO:Ho"


def test_retry_loading_models(open_page: Open) -> None:
    page = open_page("#none", requests_fail=True)
    page.route("**/v1/models", lambda route: route.abort())
    page.reload()
    page.get_by_role("alert").filter(has_text="not responding").wait_for()
    page.unroute("**/v1/models")
    page.get_by_role("button", name="Try again").click()
    page.locator("#about", has_text="parameters").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_layout(open_page: Open, scheme: str) -> None:
    page = open_page(viewport={"width": 375, "height": 700}, color_scheme=scheme)
    generate(page, words=20)
    assert fits_width(page)
    page.locator(".line").nth(1).click(position={"x": 25, "y": 12})
    page.get_by_role("dialog").locator(".lens-table").wait_for()
    assert page.get_by_role("dialog").evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")


def test_dark_theme(open_page: Open) -> None:
    def is_dark(page: "Page") -> bool:
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", color)[:3])) < 200

    assert is_dark(open_page(color_scheme="dark"))
    page = open_page(color_scheme="light")
    assert not is_dark(page)
    page.get_by_role("button", name="Theme").click()
    page.get_by_role("button", name="Theme").click()
    assert is_dark(page)
    page.reload()
    page.get_by_role("button", name="Theme: dark").wait_for()
    assert is_dark(page)


@needs_axe
@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_accessibility(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme=scheme, bypass_csp=True)  # the page's policy forbids evaluating axe
    assert violations(page) == []
    page.locator("[name=shade]").check()
    generate(page, samples=2)
    assert violations(page) == []
    page.locator(".text-view").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.locator("dialog .panels:not([aria-busy]) .lens-table").wait_for()
    assert violations(page) == []
