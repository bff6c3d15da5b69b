"""The page with prompts that are more than plain ASCII: characters the model lacks, and tokens of half a character."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helpers.page import Open, Serve, generate, text, wait_finished
from helpers.server_process import run_server
from helpers.shipped import CHARACTERS
from helpers.web import static_server

from inkhorn.checkpoint.resolve import SHIPPED
from inkhorn.web.export import write_site

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

PROMPT = "ROMEO:\nNaïve — 🎭 “so”\u200b"
READ = "ROMEO:\nNaive --  'so'"
NOTE = "ï (replaced by i), — (replaced by --), 🎭 (left out), “ (replaced by '), ” (replaced by '), U+200B (left out)."


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of a server with a shipped model of characters."""
    with run_server("--model", CHARACTERS) as process:
        yield process.url


def titles(page: "Page", steps: int) -> list[str]:
    """The tokens that the inspector names while it steps backwards from the first generated token."""
    page.locator(".text-view").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    found = []
    for _ in range(steps):
        page.locator("dialog:not([aria-busy]) .lens-table, dialog:not([aria-busy]) .panel.lens").first.wait_for()
        assert page.locator("dialog .error").is_hidden()
        found.append(page.locator("dialog h2 b").inner_text())
        page.get_by_role("button", name="Previous").click()
    page.keyboard.press("Escape")
    return found


def test_note_and_prompt_as_read(open_page: Open) -> None:
    page = open_page()
    written = generate(page, prompt=PROMPT, words=6)
    assert written.startswith(READ)
    note = page.locator("#note").inner_text()
    assert NOTE in note
    assert "Not in this model’s vocabulary" in note
    found = titles(page, 6)
    assert "".join(reversed(found))[:-1] == READ[-5:].replace(" ", "␣")
    assert found[0] == written[len(READ)].replace(" ", "␣").replace("\n", "↵")
    assert generate(page, prompt=READ, words=6) == written  # the model read exactly this
    assert page.locator("#note").is_hidden()


def test_note_on_static_page(open_page: Open, tmp_path: Path, serve: Serve) -> None:
    write_site(SHIPPED[CHARACTERS], CHARACTERS, tmp_path / "site")
    url = serve(static_server(tmp_path / "site"))
    page = open_page(url=url)
    assert generate(page, prompt=PROMPT, words=3).startswith(READ)
    assert NOTE in page.locator("#note").inner_text()


def test_inspector_with_tokens_of_half_a_character(open_page: Open, bpe_server: str) -> None:
    prompt = "To be 🎭 not🎭"
    page = open_page(url=bpe_server)
    written = generate(page, prompt=prompt, words=30)
    assert written.startswith(prompt)
    assert page.locator("#note").is_hidden()
    found = titles(page, 4)
    start = found.index("🎭")  # the first token, unless the generated one completes a character
    assert found[start : start + 3] == ["🎭", "t", "o"]
    page.locator(".text-view").focus()
    for _ in range(40):  # no step of the arrow keys is an error, whatever part of a character a token is
        page.keyboard.press("ArrowRight")
    assert text(page) == written


def test_click_on_emoji_of_the_prompt(open_page: Open, bpe_server: str) -> None:
    page = open_page(url=bpe_server)
    generate(page, prompt="🎭 of the play", words=5)
    wait_finished(page)
    page.locator(".text-view .line").first.click(position={"x": 3, "y": 12})
    page.get_by_role("dialog").locator(".panel.next").wait_for()
    assert page.locator("dialog h2 b").inner_text() == "🎭"


def test_inspector_steps_by_tokens_in_the_prompt(open_page: Open, bpe_server: str) -> None:
    """A click in the middle of a token is on the whole token, and no label of a bar lies on the bar."""
    tokens = ["JULIET", ":", "\n", "Deny", " thy", " father"]
    page = open_page(url=bpe_server)
    generate(page, prompt="".join(tokens), words=5)
    line = page.locator(".text-view .line").nth(1)
    line.evaluate(
        "line => { window.box = document.createRange(); box.setStart(line.querySelector('span').firstChild, 12); }"
    )
    x, y = page.evaluate("(() => { const at = box.getBoundingClientRect(); return [at.x + 3, at.y + 5]; })()")
    page.mouse.click(x, y)
    dialog = page.get_by_role("dialog")
    title = dialog.locator("h2 b")
    expected = [token.replace(" ", "␣").replace("\n", "↵") for token in tokens]
    title.get_by_text(expected[-1], exact=True).wait_for()
    dialog.locator(".panel.next .bars li").first.wait_for()
    for token in reversed(expected[:-1]):
        dialog.get_by_role("button", name="Previous").click()
        title.get_by_text(token, exact=True).wait_for()
    for token in expected[1:]:
        dialog.get_by_role("button", name="Next").click()
        title.get_by_text(token, exact=True).wait_for()
    page.locator("dialog:not([aria-busy])").wait_for()
    labels = page.locator("dialog .bars li b")
    sizes = labels.evaluate_all("labels => labels.map(label => [label.scrollWidth, label.clientWidth])")
    assert len(sizes) == 10
    assert all(content <= width for content, width in sizes)
