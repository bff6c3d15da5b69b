"""The figures of the docs: whole XML that fetches and runs nothing, whatever a model wrote, with true numbers."""

import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from helpers.paths import ROOT
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.checkpoint.weights import read_config
from inkhorn.config.model import ModelConfig
from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import UsageError
from inkhorn.inference.engine import load

DOCS = ROOT / "docs"
SVG = "{http://www.w3.org/2000/svg}"
CONFIG = read_config(resolve_checkpoint("shakespeare"))
HOSTILE = [
    "</text><script>alert(1)</script>",
    "]]>&amp;<!-- \"'` --><style>*{display:none}</style>",
    "\x00\x01\x08\x0b\x1b[31m\x7f\x85\u2028\ufffe\uffff\udcff",
    "\u202edesrever\u202c\u200f\ufeff",
    '<image href="https://example.org/a.png"/>',
    "{}%s $ink ${paper} \\",
    "x" * 3000,
    "\n\n \n\t\n",
    "字" * 200 + "😀" * 50,
]


def script(name: str) -> Any:
    """A script of docs/figures as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "figures" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # the others import `sheet` by its name
    spec.loader.exec_module(module)
    return module


sheet, architecture, terminal, sounds = map(script, ("sheet", "architecture", "terminal", "sounds"))


def checked(markup: str) -> ElementTree.Element:
    """The figure as a tree: it must be whole, and ask for nothing."""
    root = ElementTree.fromstring(markup.encode())
    assert root.tag == SVG + "svg"
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in {"svg", "title", "desc", "style", "text", "tspan", *SHAPES}
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            assert "href" not in name
            assert "url(" not in value
    styles = "".join(element.text or "" for element in root.iter(SVG + "style"))
    assert not re.search(r"url\(|@import|https?:", styles)
    assert "prefers-color-scheme: dark" in styles
    return root


SHAPES = ("g", "path", "rect", "circle")


def words(root: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in root.iter(SVG + "text")]


def piece(text: str) -> list[tuple[float, str]]:
    return [(0.5, "ROMEO:"), (0.51, "\r\n"), (0.52, text), (0.9, "\r\n\x1b[2mdone\x1b[0m\r\n"), (1.0, "")]


def run_of(*texts: str) -> list[Any]:
    return [sounds.Sample(10 * (i + 1), 4.0 - i / 2, text) for i, text in enumerate(texts)]


def curve(*losses: float) -> Any:
    steps = sounds.np.arange(1.0, len(losses) + 1)
    return sounds.Curve(steps, sounds.np.array(losses))


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.svg")), ids=lambda path: path.name)
def test_what_is_in_the_docs_is_whole(path: Path) -> None:
    markup = path.read_text(encoding="utf-8")
    checked(markup)
    assert set(re.findall(r"https?:[^\"' <]*", markup)) == {"http://www.w3.org/2000/svg"}
    assert len(markup.encode()) < 60_000


@given(st.text(st.characters(), max_size=300))
def test_visible_text_is_text_of_xml(text: str) -> None:
    tree = ElementTree.fromstring(sheet.text(0, 0, text).encode())
    assert tree.text == (sheet.visible(text) or None)
    assert len(sheet.visible(text)) == len(text)


def test_control_characters_get_their_pictures() -> None:
    assert sheet.visible("a\x00\x1b\x7f\t\nb") == "a␀␛␡␉\nb"
    assert sheet.visible("\u202e\ud800\uffff\x85") == "\ufffd" * 4


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_a_model_writes(text: str) -> None:
    checked(terminal.draw(piece(text), f'inkhorn "{text[:40]}"', made_with=text[:20]))
    root = checked(sounds.draw(run_of(text, text + "!", "A speech.\n\nLEAR:\nNo."), curve(4, 3), curve(4, 3), {}))
    assert root.attrib["width"] == "880"
    scene = architecture.Scene(
        tuple(text[:7]),
        tuple(range(len(text[:7]))),
        _even(5, len(text[:7])),
        tuple(text[:7]),
        ((text[0], 1.0),),
        3,
        text[0],
        0.8,
        1,
    )
    checked(architecture.draw(CONFIG, scene))


def _even(heads: int, length: int) -> Any:
    return architecture.np.tril(architecture.np.full((heads, length, length), 0.5))


@pytest.mark.parametrize(
    "config",
    [CONFIG, replace(CONFIG, n_layer=2, n_head=4, n_embd=128), ModelConfig(vocab_size=50257, n_inner=100)],
    ids=["shipped", "small", "odd"],
)
def test_parameters_add_up(config: ModelConfig) -> None:
    counts = architecture.parameters(config)
    block = sum(count for name, count in counts.items() if name.startswith("h."))
    rest = sum(count for name, count in counts.items() if not name.startswith("h."))
    assert config.n_layer * block + rest == config.num_parameters


def test_the_architecture_is_the_shipped_model() -> None:
    engine = load()
    scene = architecture.play(engine)
    root = checked(architecture.draw(engine.config, scene))
    ledger = [
        int((element.text or "").replace(",", ""))
        for element in root.iter(SVG + "text")
        if element.attrib.get("class") == "end" and re.fullmatch(r"[\d,]+", element.text or "")
    ]
    assert len(ledger) == 5
    assert sum(ledger) == engine.config.num_parameters
    said = words(root)
    assert f"{sum(ledger):,}" in said
    for name, count in architecture.parameters(engine.config).items():
        assert f"{count:,}" in said, name
    assert sum(share for _, share in scene.odds) <= 1 + 1e-6
    assert scene.drawn in dict(scene.odds)
    written = engine.complete("ROMEO:", SamplingParams(seed=architecture.SEED, max_tokens=2)).text
    assert written == "\n" + scene.drawn  # the figure and the command tell the same
    assert any("(seed 7)" in line for line in said)
    assert any("(seed 8)" in line for line in words(checked(architecture.draw(engine.config, replace(scene, seed=8)))))


def test_a_gpt1_is_not_drawn_as_a_gpt2() -> None:
    scene = architecture.Scene(("a",), (0,), _even(1, 1), ("b",), (("b", 1.0),), 0, "b", 1.0, 1)
    with pytest.raises(ValueError, match="GPT-2"):
        architecture.draw(replace(CONFIG, model_type="openai-gpt"), scene)


def test_a_screen_breaks_lines_and_keeps_times() -> None:
    rows = terminal.screen([(1.0, "abc"), (2.0, "de\r\n"), (3.0, "\x1b[2mf\x1b[0m"), (4.0, "")], columns=4)
    assert ["".join(row.characters) for row in rows] == ["abcd", "e", "f"]
    assert [row.times for row in rows] == [[1.0, 1.0, 1.0, 2.0], [2.0], [3.0]]
    assert [(row.start, row.end) for row in rows] == [(1.0, 2.0), (2.0, 2.0), (2.0, 4.0)]
    assert [row.dim for row in rows] == [False, False, True]


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        ("inkhorn ROMEO: --seed 7 --words=60 --end-at-sentence", ""),
        ("inkhorn ROMEO: --seed 7", "--words 60 --end-at-sentence"),
        ("inkhorn ROMEO: --end-at-sentence --words 6 --seed=70", "--seed 7 --words 60"),
        ("inkhorn 7 60 --end-at-sentence --words 60 --seed", "--seed 7"),
        ("", "--seed 7 --words 60 --end-at-sentence"),
    ],
)
def test_the_caption_tells_what_the_shown_command_has_otherwise(shown: str, told: str) -> None:
    assert terminal.unlike(shown, {"--seed": "7", "--words": "60", "--end-at-sentence": ""}) == told


@pytest.mark.parametrize("colour", ["\x1b[2m", "\x1b[38;5;1m"])
def test_an_escape_sequence_that_is_cut_waits_for_its_end(colour: str) -> None:
    for place in range(1, len(colour)):
        words, cut = terminal.halved("a" + colour[:place])
        assert (words, cut) == ("a", colour[:place])
        assert terminal.halved(cut + colour[place:] + "b") == (colour + "b", "")
    assert terminal.halved("") == ("", "")


def test_the_terminal_stands_still_with_all_its_text() -> None:
    pieces = [(0.3 + 0.002 * i, letter) for i, letter in enumerate("Now is the winter of our discontent.\r\n" * 9)]
    markup = terminal.draw([*pieces, (1.5, "")], "inkhorn Now", seconds=6)
    said = words(checked(markup))
    assert said.count("Now is the winter of our discontent.") == 9
    assert "$ inkhorn Now" in said
    assert "recorded; the writing slowed 5 times" in said
    still, _, moving = markup.partition("prefers-reduced-motion")
    assert "animation" not in still
    for name in set(re.findall(r"@keyframes (\w+)", moving)):
        frames = moving.partition(f"@keyframes {name}{{")[2].partition("}}")[0]
        times = [float(time) for time in re.findall(r"([\d.]+)%", frames)]
        assert times[0] == 0
        assert times == sorted(times)
        assert times[-1] <= 100


def test_each_target_gets_its_sample_once() -> None:
    samples = [sounds.Sample(i, loss, "text") for i, loss in enumerate((4.1, 3.2, 2.6, 2.1, 1.72, 1.48, 1.4, 1.45))]
    assert [sample.loss for sample in sounds.choose(samples)] == [3.2, 2.6, 2.1, 1.72, 1.48, 1.45]
    assert [sample.loss for sample in sounds.choose(samples[-3:])] == [1.48, 1.45]
    assert sounds.choose([]) == []


def test_a_sample_is_set_as_it_is_until_it_is_cut_off() -> None:
    rows = sounds.set_in_rows("\n\nLEAR:\nBlow, winds.\n\n\nFOOL:\nO nuncle.\n\nLEAR:\nRumble.", rows=5)
    assert rows == [
        ("LEAR:", "speaker"),
        ("Blow, winds.", ""),
        ("", "empty"),
        ("FOOL:", "speaker"),
        ("O nuncle. …", ""),
    ]
    assert sounds.set_in_rows("One line.") == [("One line.", "")]


@given(st.text(st.characters(), max_size=400), st.integers(1, 9))
def test_rows_hold_the_beginning_of_the_text(text: str, most: int) -> None:
    rows = [words for words, kind in sounds.set_in_rows(text, most) if kind != "empty"]
    assert len(rows) <= most
    assert all(sum(map(sounds.breadth, row.removesuffix(" …"))) <= sounds.MEASURE + 1 for row in rows)

    def bare(words: str) -> str:
        return re.sub(r"\s", "", words)

    assert bare(sounds.visible(text)).startswith(bare("".join(rows).removesuffix(" …")))


def test_a_run_is_read_and_drawn(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"step": step, "val/loss": 4 - step / 100, "text": "A<b>\n&c"} for step in range(0, 250, 50)
    ]
    lines += [
        {"step": 300, "val/loss": None, "text": "none"},
        {"step": 310, "val/loss": 1.0, "text": " \n"},
        {"step": 320},
    ]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    metrics = [{"step": step, "train/loss": 4 - step / 100} for step in range(1, 250)] + lines
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
    samples = sounds.read_samples(tmp_path)
    assert [sample.step for sample in samples] == [0, 50, 100, 150, 200]
    curves = sounds.read_curve(tmp_path, "train/loss"), sounds.read_curve(tmp_path, "val/loss")
    said = words(checked(sounds.draw(samples, *curves, {"model": {"vocab_size": 66}})))
    assert "A<b>" in said
    assert any("2.00" in line and "2.89 bits" in line and "nats per character" in line for line in said)
    assert any(
        "nats per token" in line
        for line in words(checked(sounds.draw(samples, *curves, {"model": {"vocab_size": 9999}})))
    )
    with pytest.raises(UsageError):
        sounds.draw(sounds.read_samples(tmp_path / "nowhere"), *curves, {})


def test_a_run_without_samples_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in (tmp_path, tmp_path / "nowhere"):
        monkeypatch.setattr(sys, "argv", ["sounds.py", "--run", str(run), "--out", str(tmp_path / "out.svg")])
        with pytest.raises(SystemExit) as exit_:
            sounds.main()
        assert exit_.value.code == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert said.startswith(f"{run}: the run has no samples")
    assert not (tmp_path / "out.svg").exists()
