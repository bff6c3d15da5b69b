"""The figures of the docs, and the scripts that draw them."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from helpers.paths import ROOT

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.checkpoint.weights import read_config
from inkhorn.errors import UsageError
from inkhorn.training.report.run_log import read_run

DOCS = ROOT / "docs"
SVG = "{http://www.w3.org/2000/svg}"


def load_script(name: str) -> Any:
    """Import a script of docs/figures."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "figures" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in root.iter(SVG + "text")]


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.svg")), ids=lambda path: path.name)
def test_svg_is_self_contained(path: Path) -> None:
    markup = path.read_text(encoding="utf-8")
    tags = {element.tag.removeprefix(SVG) for element in ElementTree.fromstring(markup).iter()}
    assert not tags & {"script", "image", "foreignObject"}
    assert set(re.findall(r"https?:[^\"' <]*", markup)) == {"http://www.w3.org/2000/svg"}
    assert len(markup.encode()) < 60_000


def test_architecture_figure_parameters() -> None:
    found = ElementTree.parse(DOCS / "architecture.svg").getroot()
    config = read_config(resolve_checkpoint("shakespeare"))
    embeddings, blocks = (config.vocab_size + config.block_size) * config.n_embd, config.num_parameters
    blocks -= embeddings + 2 * config.n_embd  # ln_f
    said = texts(found)
    assert f"{config.num_parameters:,}" in said
    assert f"{blocks:,}" in said
    assert f"{blocks // config.n_layer:,}" in said


def test_terminal_svg() -> None:
    terminal = load_script("terminal")
    pieces = [(0.3, "\x1b[2mNow is the "), (0.4, "winter\x1b[0m\r\n"), (0.5, "<of> &\x00" + "x" * 70), (0.6, "\r\n")]
    root = ElementTree.fromstring(terminal.draw(pieces, "inkhorn Now", seconds=3))
    rows = ["$ inkhorn Now", "Now is the winter", "<of> &\ufffd" + "x" * 57, "x" * 13, "$"]
    assert texts(root)[2:] == rows
    assert texts(root)[1] == "recorded; generation slowed down 10 times"


def test_loss_samples_figure(tmp_path: Path) -> None:
    loss_samples = load_script("loss_samples")
    with pytest.raises(UsageError, match="no samples"):
        loss_samples.draw(read_run(tmp_path))
    records = [{"step": step, "train/loss": 4 / step, "val/loss": 4 - step / 100} for step in range(1, 250)]
    samples = [record | {"text": "A $x$ <b>\n" * 9} for record in records[::50]]
    for name, lines in (("metrics", records), ("samples", samples)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    loss_samples.draw(read_run(tmp_path)).savefig(tmp_path / "out.svg")
    assert ElementTree.parse(tmp_path / "out.svg").getroot().tag == SVG + "svg"


def test_first_lines() -> None:
    loss_samples = load_script("loss_samples")
    assert loss_samples.first_lines("\n\nLEAR:\nBlow, winds.\n") == "LEAR:\nBlow, winds."
    assert loss_samples.first_lines("one two three", lines=1, columns=8) == "one two …"
    assert loss_samples.first_lines("a\x1bb") == "a\ufffdb"
