"""The script that makes a shipped model of a training run."""

import json
from pathlib import Path

import pytest
import ship_model
from helpers.models import run

from inkhorn.checkpoint.card import read_card
from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.inference.api import load
from inkhorn.model import GPT

VERSE = (
    "ROMEO:\nWhat light is this?\nIt is the east, and thou art the sun.\n\nJULIET:\nO Romeo, wherefore art thou?\n\n"
)
FLAGS = ("--tokenizer", "bpe", "--vocab-size", "300", "--steps", "4", "--eval-every", "2", "--save-every", "2")
CARD = "---\ninkhorn:\n  title: Ours\n  tagline: A small GPT\nwidget:\n- text: 'ROMEO:'\n---\n# Old\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps, with a byte-level BPE."""
    folder = tmp_path_factory.mktemp("ship")
    (folder / "verse.txt").write_text(VERSE * 60)
    (folder / "held-out.txt").write_text(VERSE * 4)
    assert (
        run(
            "train",
            "test",
            "--text",
            str(folder / "verse.txt"),
            "--out",
            str(folder / "run"),
            *FLAGS,
            "--device",
            "cpu",
        )
        == 0
    )
    return folder


def test_a_run_becomes_a_shipped_model(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The old model stays under another name; the card has the facts of the run, and the scores of what is written."""
    assets, step = tmp_path / "assets", trained / "run" / "step-0000004"
    old = assets / "shakespeare"
    old.mkdir(parents=True)
    (old / "README.md").write_text(CARD)
    (tmp_path / "rows.json").write_text('{"memorization": "none"}')
    flags = ("--assets", str(assets), "--no-inspect", "--measure", str(trained / "held-out.txt"))
    assert ship_model.main([str(step), *flags]) == 1
    assert "exists: --move-old NAME keeps it" in capsys.readouterr().err
    assert ship_model.main([str(step), *flags, "--move-old", "old", "--rows", str(tmp_path / "rows.json")]) == 0
    assert (assets / "old" / "README.md").read_text() == CARD
    files = {"README.md", "config.json", "generation_config.json", "model.safetensors", *ship_model.TOKENIZER_FILES}
    assert {path.name for path in old.iterdir()} == files
    assert {path.name for path in tmp_path.iterdir()} == {"assets", "rows.json"}
    assert json.loads((old / "config.json").read_text())["dtype"] == "float16"
    assert (old / "tokenizer.json").read_bytes() == (step / "tokenizer.json").read_bytes()
    for mine, theirs in zip(GPT.from_pretrained(old).parameters(), GPT.from_pretrained(step).parameters(), strict=True):
        assert mine.equal(theirs.half().float())
    with load(old) as model:
        assert model.generate("ROMEO:", max_tokens=5, seed=1).num_tokens == 5

    page, card = read_card(old), (old / "README.md").read_text()
    assert (page.title, page.tagline, [one.prompt for one in page.openings]) == ("Ours", "A small GPT", ["ROMEO:"])
    assert page.layout == read_card(step).layout == "play"
    record = json.loads((trained / "run" / "run.json").read_text())
    assert f"| recipe | `{record['command']}` |" in card
    assert "| steps | 4 of 4, each of" in card
    assert "| memorization | none |" in card
    assert "license: mit" in card
    capsys.readouterr()
    assert run("eval", "--model", str(old), "--text", str(trained / "held-out.txt"), "--json") == 0
    bits = json.loads(capsys.readouterr().out)["bits_per_character"]
    assert f"| score on held-out.txt | **{bits:.4f} bits per character**" in card


def test_a_failure_leaves_the_old_model(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assets = tmp_path / "assets"
    (assets / "shakespeare").mkdir(parents=True)
    flags = ("--assets", str(assets), "--no-inspect", "--replace")
    assert ship_model.main([str(trained / "run"), *flags, "--measure", "no-corpus"]) == 1
    assert ship_model.main([str(resolve_checkpoint("shakespeare")), *flags]) == 1
    assert "is no step-* folder of a run" in capsys.readouterr().err
    assert list((assets / "shakespeare").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["assets"]
