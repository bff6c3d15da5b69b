"""The page switches parts of the model off, and shows which parts matter for a token."""

from typing import TYPE_CHECKING, Any

from helpers.page import Open, Serve, fits_width, generate, text, wait_finished
from helpers.web import SHIPPED, export_tiny, static_server

from inkhorn.checkpoint.weights import read_config
from inkhorn.inference.activation_files import steering_facts
from inkhorn.inspection.atlas import read_atlas

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page


def open_grid(page: "Page") -> None:
    page.evaluate("document.querySelector('#interventions').open = true")


def switch(page: "Page", part: str) -> None:
    page.get_by_role("button", name=f"Switch off {part}", exact=True).click()


def interventions_of(request: Any) -> list[dict[str, Any]]:
    """The interventions in the body of a request that the page sends."""
    found: list[dict[str, Any]] = request.value.post_data_json["interventions"]
    return found


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
    assert page.locator(".sample h2").all_inner_texts() == ["Sample 1", "Changed: without L1H3"]
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
    assert page.locator(".sample h2").nth(1).inner_text() == "Changed: without L1H3"
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
    config = read_config(SHIPPED)
    assert cells.count() == config.n_layer * (config.n_head + 1)
    cells.nth(2).focus()
    caption = page.locator(".panel.importance .caption").inner_text()
    assert caption.startswith("layer 1, head 3: without it the token becomes")
    assert "direct share of the logit" in caption
    cells.nth(2).click()
    assert cells.nth(2).get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="Close").click()
    wait_finished(page, 1)
    assert page.locator(".sample h2").nth(1).inner_text() == "Changed: without L1H3"


def test_steering(open_page: Open) -> None:
    page = open_page()
    original = generate(page)
    open_grid(page)
    slider = page.get_by_label("prose ↔ verse")
    assert slider.get_attribute("aria-valuetext") == "off"
    with page.expect_request("**/v1/completions") as request:
        slider.press("ArrowLeft")
    (change,) = interventions_of(request)
    facts = steering_facts(SHIPPED, "verse")
    effect = facts.effects[2]
    expected = {"component": "resid", "layer": facts.layer, "action": "add", "vector": "verse"}
    assert change == {**expected, "factor": effect["factor"]}
    shown = page.locator("#steer-verse-effect").inner_text()
    assert f"verse lines {round(100 * (effect['verse'] or 0))} %" in shown
    assert f"perplexity {effect['perplexity']:.1f}" in shown
    wait_finished(page, 1)
    assert text(page, 1) != original == text(page)
    slider.press("ArrowRight")
    page.locator(".sample").nth(1).wait_for(state="detached")


def test_scale_and_patch(open_page: Open) -> None:
    page = open_page()
    generate(page)
    open_grid(page)
    page.get_by_text("Scale a part").click()
    page.locator("#scale-part").select_option("head 3")
    with page.expect_request("**/v1/completions") as request:
        page.get_by_label("Factor").press("End")
    scaled = {"component": "head", "layer": 0, "head": 2, "action": "scale", "factor": 3}
    assert interventions_of(request) == [scaled]
    page.get_by_text("Patch from another prompt").click()
    page.get_by_label("Other prompt").fill("HAMLET:")
    page.get_by_label("Activation").select_option("MLP")
    page.locator("#patch-layer").select_option("5")
    page.get_by_label("Its token").fill("2")
    with page.expect_request("**/v1/completions") as request:
        page.get_by_role("button", name="Patch", exact=True).click()
    at = {"source_position": 2, "position": -1}
    patch = {"component": "mlp", "layer": 4, "action": "patch", "prompt": "HAMLET:", **at}
    assert interventions_of(request) == [scaled, patch]
    assert page.locator(".sample h2").nth(1).inner_text() == "Changed: L1H3 × 3, L5 MLP from “HAMLET:”"
    with page.expect_request("**/v1/completions") as request:
        page.get_by_role("button", name="Remove L1H3 × 3").press("Enter")
    assert interventions_of(request) == [patch]


def test_a_link_to_a_changed_text(open_page: Open) -> None:
    page = open_page()
    generate(page)
    open_grid(page)
    page.get_by_label("a clown ↔ a king").press("ArrowRight")
    switch(page, "layer 2, MLP")
    page.get_by_label("put their mean").check()
    wait_finished(page, 1)
    original, changed = text(page), text(page, 1)
    page.get_by_role("button", name="Share").nth(1).click()
    link = page.evaluate("location.hash")
    king = steering_facts(SHIPPED, "king")
    factor = f"{king.effects[4]['factor']:g}"
    assert f"change=m1n&change=r{king.layer}v{factor}%7Eking" in link
    other = open_page(link)
    wait_finished(other, 1)
    assert [text(other), text(other, 1)] == [original, changed]
    assert other.locator(".sample h2").nth(1).inner_text() == f"Changed: mean of L2 MLP, king +{factor}"
    assert other.get_by_label("a clown ↔ a king").get_attribute("aria-valuetext") == f"factor {factor}"
    pressed = other.get_by_role("button", name="Switch off layer 2, MLP", exact=True).get_attribute("aria-pressed")
    assert pressed == "true"
    broken = open_page(link.replace("m1n", "m1q"))  # not a link to a text
    assert broken.locator(".sample").count() == 0


def test_the_atlas_beside_a_head(open_page: Open) -> None:
    page = open_page()
    generate(page)
    open_grid(page)
    layer, head, score = read_atlas(SHIPPED).strongest("previous_token")[0]
    said = f"looks at the token before ({score:.2f})"
    cell = page.get_by_role("button", name=f"Switch off layer {layer + 1}, head {head + 1}", exact=True)
    page.locator("#interventions a", has_text="All heads").wait_for()
    assert said in (cell.get_attribute("title") or "")
    page.locator(".text-view").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    panel = page.locator(".panel.attention")
    page.locator(".selectors label", has_text=str(layer + 1)).first.click()
    page.locator(".selectors fieldset").nth(1).locator("label", has_text=str(head + 1)).click()
    panel.get_by_text(f"layer {layer + 1}, head {head + 1} {said}").wait_for()
    with page.context.expect_page() as opened:
        panel.get_by_role("link", name="All heads").click()
    opened.value.get_by_role("heading", name="What the heads of Inkhorn look at").wait_for()


def test_phone(open_page: Open) -> None:
    page = open_page(viewport={"width": 375, "height": 800}, has_touch=True, is_mobile=True)
    generate(page)
    open_grid(page)
    switch(page, "layer 1, head 3")
    page.evaluate("for (const each of document.querySelectorAll('#interventions details')) each.open = true")
    wait_finished(page, 1)
    assert fits_width(page)


def test_static_page(open_page: Open, tmp_path: "Path", serve: Serve) -> None:
    url = serve(static_server(export_tiny(tmp_path)))
    page = open_page(url=url)
    original = generate(page, prompt="ab")
    open_grid(page)
    switch(page, "layer 1, MLP")
    wait_finished(page, 1)
    assert text(page, 1) != original
    inspect_and_compute(page)
    assert page.locator(".panel.importance table button").count() == 2 * 3
    page.get_by_text("inkhorn serve also shows the direct share of each part").wait_for()


def test_steering_on_the_static_page(open_page: Open, shipped_site: "Path", serve: Serve) -> None:
    url = serve(static_server(shipped_site))
    page = open_page(url=url)
    original = generate(page)
    open_grid(page)
    page.get_by_label("prose ↔ verse").press("ArrowLeft")
    wait_finished(page, 1)
    steered = text(page, 1)
    assert steered != original
    switch(page, "layer 1, MLP")
    page.get_by_label("put their mean").check()
    wait_finished(page, 1)
    assert text(page, 1) != steered
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="All heads").click()
    opened.value.get_by_role("link", name="Back to the model").wait_for()
