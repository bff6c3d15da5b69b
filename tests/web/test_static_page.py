"""The exported page in Chromium: the worker, under the page's own Content-Security-Policy."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helpers.web import SHIPPED, run_engine, static_server

from inkhorn.checkpoint.weights import read_config

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

USE_CLIENT = """async () => {
    const progress = [];
    const { makeClient } = await import("./api/worker_client.js");
    const client = makeClient({ onProgress: (...bytes) => progress.push(bytes) });
    const [model] = await client.models();
    const request = { model: model.id, prompt: "ROMEO:", max_tokens: 400, temperature: 0.8, seed: 7, logprobs: 5 };
    const texts = ["", "", ""];
    const append = (i) => ({ onChunk: (chunk) => (texts[i] += chunk.text) });
    const results = await Promise.all([client.complete(request, append(0)), client.complete(request, append(1))]);
    const controller = new AbortController();
    const aborted = await client.complete({ ...request, max_tokens: Infinity }, {
        signal: controller.signal,
        onChunk: (chunk) => {
            texts[2] += chunk.text;
            controller.abort();
        },
    });
    const explanation = await client.explain({ model: model.id, text: texts[0], layer: 5 });
    const failure = await client.explain({ model: model.id, text: "a", layer: 99 }).catch((error) => error.message);
    const settings = await client.settings();
    return { model, texts, results, aborted, explanation, failure, settings, progress };
}"""


def test_worker_client(browser: "Browser", shipped_site: Path) -> None:
    """Two texts at once, an abort, an explanation and an error; Node generates the same text."""
    request = {"prompt": "ROMEO:", "max_tokens": 400, "temperature": 0.8, "seed": 7}
    (expected,) = run_engine({"do": "generate", "folder": str(shipped_site), "request": request})
    messages: list[str] = []
    with static_server(shipped_site.parent) as url:
        page = browser.new_page()
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("console", lambda message: messages.append(message.text))
        page.on("request", lambda asked: messages.append(asked.url) if not asked.url.startswith(url) else None)
        page.goto(f"{url}/{shipped_site.name}/index.html")
        found = page.evaluate(USE_CLIENT)
        page.close()
    assert messages == []
    assert found["texts"][:2] == [expected["text"]] * 2
    assert [result["finish_reason"] for result in found["results"]] == ["length"] * 2
    assert found["results"][0]["fingerprint"] == found["model"]["fingerprint"]
    assert found["model"]["parameters"] == read_config(SHIPPED).num_parameters
    assert found["aborted"]["finish_reason"] == "abort"
    assert len(found["texts"][2]) > 0
    assert found["texts"][0].endswith("".join(found["explanation"]["tokens"]))
    assert found["failure"] == "Layer 99 does not exist: the model has layers 0 to 5."
    assert found["settings"]["sampling"]["temperature"]["maximum"] == 2
    size = (shipped_site / "model" / "weights.bin").stat().st_size
    assert found["progress"][-1] == [size, size]


def test_generate_and_inspect(browser: "Browser", shipped_site: Path) -> None:
    with static_server(shipped_site) as url:
        page: Page = browser.new_page()
        page.goto(url)
        page.locator("#about", has_text="Runs in this browser").wait_for()
        page.fill("[name=words]", "8")
        page.get_by_role("button", name="Generate").click()
        page.locator(".sample:not(.running) .details", has_text="seed").wait_for()
        page.locator(".text-view").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.get_by_role("dialog").locator(".lens-table tbody tr").first.wait_for()
        page.close()


def test_a_text_requested_while_the_page_loads_starts_no_second_worker(browser: "Browser", shipped_site: Path) -> None:
    with static_server(shipped_site) as url:
        page = browser.new_page()
        submit = 'addEventListener("load", () => document.querySelector("#form").requestSubmit())'
        page.add_init_script(submit)
        page.goto(url)
        page.locator(".text-view .line").nth(1).wait_for(timeout=60_000)
        assert len(page.workers) == 1
        page.close()
