"""Representations of results in notebooks and terminals."""

import io
import math
import re
import struct
import zlib
from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers.models import tiny_config, tiny_model, to_numpy_model
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.control import strip_control_codes

import inkhorn
from inkhorn.inference import display
from inkhorn.inference.explain import explain
from inkhorn.tokenizer.char import CharTokenizer


class TextOf(HTMLParser):
    """The text of some HTML, and its tags that were not closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text, self.open = "", list[str]()
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def model(tiny_checkpoint: Path) -> Iterator[inkhorn.Model]:
    with inkhorn.load(tiny_checkpoint, backend="numpy", max_num_seqs=2) as loaded:
        yield loaded


def rich_text(value: object) -> str:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    console.print(value)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_completion_html_is_its_text(model: inkhorn.Model) -> None:
    completion = model.generate("ab", max_tokens=8, seed=1, ignore_eos=True, logprobs=0)
    page = completion._repr_html_()
    assert TextOf(page).text == completion.text == "".join(completion.texts)
    assert page.count("title=") == completion.num_tokens
    assert completion.text.strip() in rich_text(completion)


def test_completion_without_logprobs_has_no_shading(model: inkhorn.Model) -> None:
    completion = model.generate("ab", max_tokens=8, seed=1, ignore_eos=True)
    assert "title=" not in completion._repr_html_()
    assert TextOf(completion._repr_html_()).text == completion.text


def test_completion_ended_by_a_stop_string(model: inkhorn.Model) -> None:
    text = model.generate("ab", max_tokens=8, seed=1, ignore_eos=True).text
    completion = model.generate("ab", max_tokens=8, seed=1, ignore_eos=True, stop=(text[3:5],), logprobs=0)
    assert TextOf(completion._repr_html_()).text == completion.text == text[:3]


def test_explanation_html(model: inkhorn.Model) -> None:
    explanation = model.explain("abcab")
    page = TextOf(explanation._repr_html_())
    assert page.open == []
    assert page.text.startswith("abcab")
    assert explanation._repr_html_().count("data:image/png") == model.config.n_head
    token, probability = explanation.next_tokens[0]
    assert display.visible(token) + display.percent(probability) in page.text
    shown = rich_text(explanation)
    assert "abcab" in shown
    assert display.percent(probability) in shown


def test_run_result_lists_every_activation(model: inkhorn.Model) -> None:
    result = model.run("abc")
    page = TextOf(result._repr_html_()).text
    assert all(f"{name}{array.shape}" in page for name, array in result.activations.items())


def test_repr_is_short(model: inkhorn.Model) -> None:
    long = "abc" * 300
    completion = model.generate(long, max_tokens=50, logprobs=2)
    values = [model, model.score(long), completion, model.explain("abc"), model.run("ab")]
    assert all(len(repr(value)) < 300 for value in values)
    assert repr(values[1]).startswith("Score('abcabc")


@given(st.lists(st.tuples(st.text(), st.one_of(st.none(), st.just(math.nan), st.floats(-50, 0))), max_size=20))
def test_shaded_html_escapes_every_text(tokens: list[tuple[str, float | None]]) -> None:
    texts = [text for text, _ in tokens]
    page = display.shaded_html(texts, [logprob for _, logprob in tokens])
    assert "".join(re.findall(r">([^<]*)", page)) == escape("".join(texts))
    assert display.shaded_text(texts, [logprob for _, logprob in tokens]).plain == strip_control_codes("".join(texts))


def test_shading_levels() -> None:
    levels = {1.0: 0, 0.5: 0, 0.49: 1, 0.2: 2, 0.07: 3, 0.02: 4, 0.001: 5}
    assert {probability: display.shading_level(math.log(probability)) for probability in levels} == levels


def test_shading_levels_are_those_of_the_page() -> None:
    source = (Path(inkhorn.__file__).parent / "web/static/views/text_view.js").read_text("utf-8")
    found = re.search(r"const LEVELS = \[([^\]]*)\]", source)
    assert found is not None
    assert tuple(float(each) for each in found[1].split(",")) == display.LEVELS


def test_png_holds_the_values() -> None:
    values = np.random.default_rng(0).random((3, 5))
    data = display.grayscale_png(values)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    position, chunks = 8, {}
    while position < len(data):
        size, name = struct.unpack(">I4s", data[position : position + 8])
        content = data[position + 8 : position + 8 + size]
        assert struct.unpack(">I", data[position + 8 + size : position + 12 + size])[0] == zlib.crc32(name + content)
        chunks[name] = content
        position += 12 + size
    assert struct.unpack(">II", chunks[b"IHDR"][:8]) == (5, 3)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(3, 6)
    assert (rows[:, 1:] == np.rint(values * 255)).all()


def test_html_of_tokens_that_look_like_markup() -> None:
    tokenizer = CharTokenizer("<b>&\"'/ script\n")
    numpy_model = to_numpy_model(tiny_model(tiny_config(vocab_size=tokenizer.vocab_size, block_size=40)))
    explanation = explain(numpy_model, tokenizer, tokenizer.encode("<script>\n\"&'").tolist(), 0)
    page = explanation._repr_html_()
    assert "<script" not in page
    assert TextOf(page).text.startswith("<script>\n\"&'")
