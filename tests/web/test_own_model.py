"""The page of a model that does not write Shakespeare: title, openings, layout and the tour's example are its own."""

from pathlib import Path

import pytest
from helpers.models import save_checkpoint, tiny_config, tiny_model
from helpers.page import Open, Serve, generate, wait_finished
from helpers.server_process import run_server
from helpers.web import static_server

from inkhorn.checkpoint.card import CardFacts, Opening, card_header
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.web.export import write_site

pytestmark = pytest.mark.browser

OPENINGS = (Opening("CALL ME:", "Call me"), Opening("It was the best", "It was"))


@pytest.fixture(scope="module")
def prose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model whose card says that it writes prose."""
    folder = tmp_path_factory.mktemp("prose") / "novel"
    tokenizer = CharTokenizer("ACEILM:abehilmnostw .\n")
    config = tiny_config(vocab_size=tokenizer.vocab_size, block_size=48)
    save_checkpoint(folder, tiny_model(config, scale=0.2), tokenizer)
    card = CardFacts("The Novel", "A small GPT that writes novels", "plain", OPENINGS)
    (folder / "README.md").write_text(card_header({}, card), encoding="utf-8")
    return folder


def test_static_page(open_page: Open, prose: Path, tmp_path: Path, serve: Serve) -> None:
    write_site(prose, "novel", tmp_path / "site")
    url = serve(static_server(tmp_path / "site"))
    page = open_page(url=url)
    assert page.title() == "The Novel"
    assert page.locator("h1").inner_text().lower() == "the novel"
    assert page.locator("#tagline").inner_text() == "A small GPT that writes novels"
    assert page.input_value("[name=prompt]") == "CALL ME:"
    assert page.locator("#examples button").all_inner_texts() == ["Call me", "It was"]
    assert page.get_by_role("button", name="a paragraph").is_visible()
    assert page.get_by_role("button", name="a speech").count() == 0
    shown = page.locator("body").inner_text()
    assert not {"Shakespeare", "Romeo", "play", "speaker"} & set(shown.replace(".", " ").split())
    page.fill("[name=words]", "3")
    page.get_by_role("button", name="It was").click()
    wait_finished(page)
    assert page.locator(".text-view .prompt").first.inner_text() == "It was the best"
    generate(page, prompt="CALL ME:\nthe", words=3)
    assert page.locator(".speaker").count() == 0  # no verse layout
    line = page.locator(".text-view .line").first
    assert line.evaluate("line => getComputedStyle(line).textIndent") == "0px"


def test_tour_example_is_written_by_the_model(open_page: Open, prose: Path, tmp_path: Path, serve: Serve) -> None:
    write_site(prose, "novel", tmp_path / "site")
    url = serve(static_server(tmp_path / "site"))
    page = open_page("#tour/12", url=url, wait=False)
    page.locator(".figure .tokens").wait_for()
    assert page.title() == "How it works: The Novel"
    assert "a text that the model has just written" in str(page.locator(".source").text_content())
    assert "CALL ME:" in str(page.locator(".source q").text_content())
    example = page.locator(".figure .tokens").inner_text()
    page.reload()
    page.locator(".figure .tokens").wait_for()
    assert page.locator(".figure .tokens").inner_text() == example


def test_page_follows_the_selected_model(open_page: Open, prose: Path, serve: Serve) -> None:
    process = serve(run_server("--model", "shakespeare", "--model", str(prose)))
    page = open_page(url=process.url)
    assert page.title() == "Inkhorn"
    assert page.input_value("[name=prompt]") == "ROMEO:"
    page.select_option("[name=model]", "novel")
    page.locator("#tagline", has_text="writes novels").wait_for()
    assert page.input_value("[name=prompt]") == "CALL ME:"  # the prompt was one of the other model's openings
    assert page.title() == "The Novel"
    page.fill("[name=prompt]", "the")
    page.select_option("[name=model]", "shakespeare")
    page.locator("#tagline", has_text="Shakespeare").wait_for()
    assert page.input_value("[name=prompt]") == "the"  # the user's own prompt stays
    page.select_option("[name=model]", "novel")
    page.reload()
    page.locator("#tagline", has_text="writes novels").wait_for()
    assert page.input_value("[name=prompt]") == "the"
