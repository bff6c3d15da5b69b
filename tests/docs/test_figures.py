"""The figures of the docs, and the scripts that draw them."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from helpers.paths import ROOT
from helpers.scripts import load_script
from helpers.shipped import CHARACTERS

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.checkpoint.weights import read_config
from inkhorn.errors import UsageError
from inkhorn.training.report.run_log import read_run

DOCS = ROOT / "docs"
SVG = "{http://www.w3.org/2000/svg}"


def figure_script(name: str) -> Any:
    """Import a script of docs/figures."""
    return load_script(DOCS / "figures" / f"{name}.py")


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
    config = read_config(resolve_checkpoint(CHARACTERS))
    embeddings, blocks = (config.vocab_size + config.block_size) * config.n_embd, config.num_parameters
    blocks -= embeddings + 2 * config.n_embd  # ln_f
    said = texts(found)
    assert f"{config.num_parameters:,}" in said
    assert f"{blocks:,}" in said
    assert f"{blocks // config.n_layer:,}" in said


def test_terminal_svg() -> None:
    terminal = figure_script("terminal")
    pieces = [(0.3, "\x1b[2mNow is the "), (0.4, "winter\x1b[0m\r\n"), (0.5, "<of> &\x00" + "x" * 70), (0.6, "\r\n")]
    root = ElementTree.fromstring(terminal.draw(pieces, "inkhorn Now", seconds=3))
    rows = ["$ inkhorn Now", "Now is the winter", "<of> &\ufffd" + "x" * 57, "x" * 13, "$"]
    assert texts(root)[2:] == rows
    assert texts(root)[1] == "recorded; generation slowed down 10 times"


def test_loss_samples_figure(tmp_path: Path) -> None:
    loss_samples = figure_script("loss_samples")
    with pytest.raises(UsageError, match="no samples"):
        loss_samples.draw(read_run(tmp_path))
    records = [{"step": step, "train/loss": 4 / step, "val/loss": 4 - step / 100} for step in range(1, 250)]
    samples = [record | {"text": "A $x$ <b>\n" * 9} for record in records[::50]]
    for name, lines in (("metrics", records), ("samples", samples)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    loss_samples.draw(read_run(tmp_path)).savefig(tmp_path / "out.svg")
    assert ElementTree.parse(tmp_path / "out.svg").getroot().tag == SVG + "svg"


def test_first_lines() -> None:
    loss_samples = figure_script("loss_samples")
    assert loss_samples.first_lines("\n\nLEAR:\nBlow, winds.\n") == "LEAR:\nBlow, winds."
    assert loss_samples.first_lines("one two three", lines=1, columns=8) == "one two …"
    assert loss_samples.first_lines("a\x1bb") == "a\ufffdb"


def history_line(median: float) -> str:
    series = [{"name": "int8", "unit": "tokens/s", "median": median, "values": [median]}]
    machine = {"cpu": "C", "instruction_set": "avx2", "cores": 2}
    return json.dumps({"title": "Speed", "machine": machine, "series": series, "facts": {}}) + "\n"


def test_benchmark_history(tmp_path: Path) -> None:
    script = figure_script("benchmark_history")
    for version, median in (("0.10.0", 300.0), ("0.2.0", 100.0), ("0.9.0", 200.0)):
        (tmp_path / f"{version}.jsonl").write_text(history_line(median))
    points = script.read_history(tmp_path)
    assert [(point.version, point.median) for point in points] == [("0.2.0", 100), ("0.9.0", 200), ("0.10.0", 300)]
    out = tmp_path / "history.svg"
    script.main(["--history", str(tmp_path), "--out", str(out)])
    assert {"0.2.0", "0.9.0", "0.10.0", "Speed, tokens/s"} <= set(texts(ElementTree.parse(out).getroot()))


def test_benchmark_history_leaves_out_details(tmp_path: Path) -> None:
    script = figure_script("benchmark_history")
    entry = json.loads(history_line(100))
    cpu_time, delay = {"name": "CPU time", "unit": "tokens/s"}, {"name": "first event", "unit": "ms"}
    other = entry["series"][0] | {"name": "int4"}
    entry["series"] = [series | {"median": 1} for series in (*entry["series"], cpu_time, delay, other, cpu_time, delay)]
    (tmp_path / "0.2.0.jsonl").write_text(json.dumps(entry) + "\n")
    assert [point.name for point in script.read_history(tmp_path)] == ["int8", "int4"]


@pytest.mark.parametrize("line", ["text\n", "{}\n", "[]\n"])
def test_benchmark_history_names_a_bad_line(line: str, tmp_path: Path) -> None:
    script = figure_script("benchmark_history")
    with pytest.raises(UsageError, match="no measurements"):
        script.read_history(tmp_path)
    (tmp_path / "0.2.0.jsonl").write_text(history_line(1) + line)
    with pytest.raises(UsageError, match="line 2: not the last line of a benchmark"):
        script.read_history(tmp_path)
