"""The tour: thirteen steps on live numbers, which equal those of the model."""

import json
import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from helpers.page import Open, Serve, fits_width, generate, needs_axe, violations
from helpers.web import SHIPPED, export_tiny, static_server

from inkhorn.checkpoint.weights import read_config
from inkhorn.inference.explain import explain
from inkhorn.inference.numpy_model import NumpyModel, softmax
from inkhorn.inspection.head_scores import head_scores
from inkhorn.tokenizer.load import load_tokenizer

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

STEPS = 13
MEASURING = 90_000  # milliseconds; the heads of all layers are measured once, which takes long on a busy machine
TEXT = "ROMEO:\nWhat light is this?\n\nJULIET:\nRomeo, what light is this?"


def wait_for_step(page: "Page", step: int) -> None:
    page.locator(".step h3", has_text=f"Step {step} of {STEPS}").wait_for(timeout=MEASURING)
    page.locator(".figure:not([aria-busy])").wait_for(timeout=MEASURING)
    assert page.locator(".step [role=alert]").count() == 0


def go(page: "Page", step: int) -> None:
    page.evaluate("step => { location.hash = `#tour/${step}`; }", step)
    wait_for_step(page, step)


def explain_text(url: str, **body: Any) -> Any:
    request = urllib.request.Request(
        f"{url}/api/explain", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def shares(page: "Page", table: str = ".figure .numbers") -> list[float]:
    """The widths of the last bar of each row, which are the shares from 0 to 1."""
    script = "rows => rows.map(row => [...row.querySelectorAll('.bar i')].at(-1)?.style.width ?? '0')"
    widths = page.locator(f"{table} tbody tr").evaluate_all(script)
    return [float(width.rstrip("%")) / 100 for width in widths]


def move(page: "Page", label: str, value: float) -> None:
    slider = page.locator("#tour").get_by_label(label, exact=False)
    slider.evaluate("(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value)


def scores_of_the_text() -> dict[str, Any]:
    tokenizer = load_tokenizer(SHIPPED)
    return head_scores(NumpyModel.from_pretrained(SHIPPED), tokenizer, tokenizer.encode(TEXT).tolist())


def strongest_head(behaviour: str) -> tuple[int, int]:
    """Layer and head, counted from 0, that score highest for a behaviour on TEXT."""
    scores = np.array(scores_of_the_text()[behaviour])
    layer, head = np.unravel_index(np.nanargmax(scores), scores.shape)
    return int(layer), int(head)


def test_steps_in_order(open_page: Open, server: str) -> None:
    """Each step has a figure to use, a question with an answer, the code, and links; nothing is requested elsewhere."""
    page = open_page()
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.get_by_role("link", name="How it works").click()
    titles = []
    for step in range(1, STEPS + 1):
        wait_for_step(page, step)
        titles.append(page.locator(".step h3").inner_text().split("\n")[0])
        assert page.locator(".figure :is(input, select, button)").count() > 0
        answer = page.locator(".question p")
        assert answer.is_hidden()
        page.locator(".question summary").press("Enter")
        assert answer.is_visible()
        assert page.locator(".quote code").count() >= 1
        assert all(
            link.startswith("https://")
            for link in page.locator(".more a").evaluate_all("links => links.map(one => one.href)")
        )
        assert page.locator(".model-map .lit").count() >= 1
        assert fits_width(page)
        page.locator("#tour a.main").click()
    page.locator("#playground").wait_for()
    assert len(set(titles)) == STEPS
    assert {url for url in requested if not url.startswith(server)} == set()


def test_phone(open_page: Open) -> None:
    page = open_page(
        "#tour", viewport={"width": 375, "height": 700}, has_touch=True, is_mobile=True, color_scheme="dark"
    )
    for step in range(1, STEPS + 1):
        go(page, step)
        assert fits_width(page), step
        boxes = page.locator(".figure .scroll").evaluate_all("all => all.map(one => one.scrollWidth - one.clientWidth)")
        assert max(boxes, default=0) <= 0, (step, boxes)


def test_attention_by_hand_gives_the_models_weights(open_page: Open, server: str) -> None:
    page = open_page("#tour/3")
    wait_for_step(page, 3)
    heading = page.locator(".figure > .small").first.inner_text()
    reference, tokenizer = NumpyModel.from_pretrained(SHIPPED), load_tokenizer(SHIPPED)
    layer, head = strongest_head("previous_token")
    assert f"layer {layer + 1}, head {head + 1}" in heading
    found = explain(reference, tokenizer, tokenizer.encode(TEXT).tolist()[:3], layer)
    np.testing.assert_allclose(shares(page), found.attention[head, 2], atol=2e-4)
    page.get_by_role("radio", name=found.tokens[1], exact=True).check(force=True)
    np.testing.assert_allclose(shares(page), found.attention[head, 1, :2], atol=2e-4)
    assert "comes later" in page.locator(".figure").inner_text()


def test_a_changed_score_changes_weights_and_mix(open_page: Open) -> None:
    page = open_page("#tour/4")
    wait_for_step(page, 4)
    painted = "() => document.querySelector('.figure [role=status] canvas').toDataURL()"
    table = ".figure .numbers"
    scores = [float(score) for score in page.locator(f"{table} input").evaluate_all("all => all.map(one => one.value)")]
    before = shares(page)
    np.testing.assert_allclose(before, softmax(np.array(scores)), atol=0.01)
    page.wait_for_timeout(50)  # the strips are painted with the next frame
    mix = page.evaluate(painted)
    page.locator(f"{table} input").first.fill("9")
    after = softmax(np.array([9, *scores[1:]]))
    np.testing.assert_allclose(shares(page), after, atol=0.01)
    page.wait_for_timeout(50)
    assert page.evaluate(painted) != mix
    page.reload()  # the change is kept
    wait_for_step(page, 4)
    np.testing.assert_allclose(shares(page), after, atol=0.01)
    page.get_by_role("button", name="Reset the scores").click()
    np.testing.assert_allclose(shares(page), before, atol=1e-6)


def test_heads_are_measured_as_in_python(open_page: Open) -> None:
    page = open_page("#tour/5")
    wait_for_step(page, 5)
    assert page.locator(".habits label").count() >= 4
    page.locator(".habits label", has_text="What came next last time").click()
    page.locator(".figure p[role=status]", has_text="finds an earlier place where the same token stood").wait_for()
    assert page.locator(".overlay path").count() > 0
    script = """async ({ text, layers }) => {
        const { BEHAVIOURS, meanWeights } = await import("./tour/behaviours.js");
        const { Explainer } = await import("./views/explanation.js");
        const { makeClient } = await import("./api/client.js");
        const explainer = new Explainer(await makeClient());
        const ask = (layer) => explainer.explain({ model: "shakespeare", text, layer });
        const found = await Promise.all([...Array(layers).keys()].map(ask));
        return Object.fromEntries(BEHAVIOURS.map((one) => [one.name, found.map((layer) => meanWeights(layer, one))]));
    }"""
    found = page.evaluate(script, {"text": TEXT, "layers": read_config(SHIPPED).n_layer})
    expected = scores_of_the_text()
    for name in ("previous_token", "duplicate_token", "induction", "line_start", "first_token"):
        np.testing.assert_allclose(found[name], expected[name], atol=0.01, err_msg=name)


def test_sliders_reshape_the_distribution(open_page: Open, server: str) -> None:
    page = open_page("#tour/10")
    wait_for_step(page, 10)
    original = shares(page)
    move(page, "Temperature", 0.5)
    powers = np.array(original) ** 2
    changed = np.array(shares(page))
    np.testing.assert_allclose(changed / changed[0], powers / powers[0], rtol=0.01)
    move(page, "Top-k", 3)
    np.testing.assert_allclose(shares(page)[:3], powers[:3] / powers[:3].sum(), rtol=0.01)
    assert sum(shares(page)[:3]) == pytest.approx(1, abs=1e-3)
    assert page.get_by_text("left out").count() == 7
    move(page, "Top-p", 0.05)
    page.get_by_role("button", name="Draw a token").click()
    page.locator(".figure [role=status]", has_text="with probability 100").wait_for()


def test_gradient_step_is_that_of_the_unembedding_vectors(open_page: Open) -> None:
    """`descend` against gradient descent on the vectors themselves, with a numerical gradient of the loss."""
    page = open_page("#tour/13")
    wait_for_step(page, 13)
    model, tokenizer = NumpyModel.from_pretrained(SHIPPED), load_tokenizer(SHIPPED)
    vectors = explain(model, tokenizer, tokenizer.encode(TEXT).tolist(), 0, head=0).vectors
    assert vectors is not None
    h, matrix = vectors.final.astype(np.float64), model.head.astype(np.float64)
    trained = np.argsort(-(matrix @ h), kind="stable")[:10]
    right, rate = trained[3], 0.5 / float(h @ h)

    def loss(w: Any) -> float:
        return float(-np.log(softmax(w @ h)[right]))

    expected = []
    for _ in range(3):
        gradient = softmax(matrix @ h)
        gradient[right] -= 1
        step = np.zeros_like(matrix)
        step[trained] = np.outer(gradient, h)[trained]
        moved = matrix.copy()
        moved[trained[0], 0] += 1e-4
        assert (loss(moved) - loss(matrix)) / 1e-4 == pytest.approx(step[trained[0], 0], abs=1e-3)
        matrix = matrix - rate * step
        expected.append(softmax(matrix @ h)[trained])
    script = """async ({ logits, sum, rate, square }) => {
        const { descend } = await import("./tour/training_steps.js");
        return [1, 2, 3].map((steps) => descend(logits, sum, 3, rate, square, steps));
    }"""
    arguments = {"logits": vectors.logits[:10], "sum": vectors.log_sum, "rate": rate, "square": float(h @ h)}
    np.testing.assert_allclose(page.evaluate(script, arguments), expected, atol=1e-5)

    probability = shares(page)
    index = page.locator(".figure select").evaluate("select => select.selectedIndex")
    page.get_by_role("button", name="Take a step").click()
    page.get_by_role("button", name="Take a step").click()
    page.locator(".figure [role=status]", has_text="After 2 steps").wait_for()
    after = shares(page)
    assert after[index] > probability[index]
    assert all(now < then for i, (now, then) in enumerate(zip(after, probability, strict=True)) if i != index)


def test_the_visitors_text_back_and_reload(open_page: Open) -> None:
    page = open_page()
    written = generate(page, words=20)
    page.get_by_role("link", name="How it works").click()
    wait_for_step(page, 1)
    assert "your text" in page.locator(".source").inner_text()
    assert str(page.locator(".source q").text_content()).startswith(written[:6])
    page.locator("#tour-text").fill("so it is")
    page.locator(".tiles", has_text=re.compile(r"^so\d+␣it\d+")).wait_for()  # until then the tiles are those before
    assert page.locator(".tiles b").all_inner_texts() == ["so", "␣it", "␣is"]
    page.get_by_role("link", name="Next:").click()
    wait_for_step(page, 2)
    assert page.evaluate("document.activeElement.tagName") == "H3"
    page.reload()
    wait_for_step(page, 2)
    page.go_back()
    wait_for_step(page, 1)
    assert page.input_value("#tour-text") == "so it is"
    page.go_back()
    page.locator("#playground").wait_for()


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
def test_static_page(open_page: Open, tmp_path: Path, kind: str, serve: Serve) -> None:
    """Also a model without clear heads, and one whose context is shorter than the text."""
    url = serve(static_server(export_tiny(tmp_path, model_type=kind)))
    page = open_page("#tour", url=url)
    for step in range(1, STEPS + 1):
        go(page, step)
    go(page, 8)
    norms = page.locator(".model-map text", has_text="layer norm").count()
    assert norms == (3 if kind == "gpt2" else 2)
    assert page.locator(".quote code", has_text="self.ln_1(x + self.attn(x))").count() == (kind != "gpt2")


def test_bpe_model(open_page: Open, bpe_server: str) -> None:
    page = open_page("#tour", url=bpe_server)
    for step in range(1, STEPS + 1):
        go(page, step)
        if step == 1:
            assert "part of a word" in page.locator(".step").inner_text()


def test_keyboard(open_page: Open) -> None:
    page = open_page("#tour/9", reduced_motion="reduce")
    wait_for_step(page, 9)
    page.locator(".figure input:checked").focus()
    label = page.locator(".figure .scroll").first.get_attribute("aria-label")
    page.keyboard.press("ArrowLeft")  # the token before the last
    changed = "label => (document.querySelector('.figure .scroll')?.ariaLabel ?? label) !== label"
    page.wait_for_function(changed, arg=label)
    for _ in range(12):
        if page.evaluate("document.activeElement.classList.contains('main')"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    wait_for_step(page, 10)
    page.locator("#tour").get_by_label("Temperature").focus()
    page.keyboard.press("ArrowRight")
    page.locator(".figure output", has_text="1.05").wait_for()
    assert page.evaluate("document.getAnimations().filter(one => one.playState === 'running').length") == 0


@pytest.mark.slow
@needs_axe
def test_accessibility(open_page: Open) -> None:
    page = open_page("#tour", bypass_csp=True)
    for step in range(1, STEPS + 1):
        go(page, step)
        page.locator(".question summary").click()
        assert violations(page) == [], step


@pytest.mark.slow
@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 768, 1280])
def test_all_widths(open_page: Open, width: int, scheme: str) -> None:
    page = open_page("#tour", viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    for step in range(1, STEPS + 1):
        go(page, step)
        page.locator(".question summary").click()
        assert fits_width(page), step
        assert violations(page) == [], step
    page.goto(page.url.split("#")[0])
    generate(page)
    assert fits_width(page)
    assert violations(page) == []
