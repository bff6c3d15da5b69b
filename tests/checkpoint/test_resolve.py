"""resolve_checkpoint: from a name or a path to a checkpoint folder."""

import shutil
from pathlib import Path

import pytest

from inkhorn.checkpoint.resolve import ASSETS, SHIPPED, display_name, resolve_checkpoint
from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.errors import CheckpointError


def write_checkpoint(folder: Path) -> None:
    (folder / "config.json").write_text("{}")


def test_checkpoint_or_run_folder(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    first = run.save(100, write_checkpoint)
    second = run.save(200, write_checkpoint)
    assert resolve_checkpoint(first) == first
    assert resolve_checkpoint(tmp_path / "run") == second
    run.mark_best(first)
    assert resolve_checkpoint(tmp_path / "run") == first
    shutil.rmtree(first)  # by hand
    assert resolve_checkpoint(tmp_path / "run") == second


def test_invalid_paths(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere does not exist: give a checkpoint folder"):
        resolve_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"neither a checkpoint nor a run folder"):
        resolve_checkpoint(tmp_path)
    (tmp_path / "step-0000100.tmp").mkdir()
    with pytest.raises(CheckpointError, match="neither a checkpoint nor a run"):
        resolve_checkpoint(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="neither a checkpoint nor a run"):
        resolve_checkpoint(tmp_path / "file")
    with pytest.raises(CheckpointError, match="cannot read the checkpoint"):
        resolve_checkpoint(tmp_path / ("x" * 5000))
    with pytest.raises(CheckpointError, match="does not exist"):
        resolve_checkpoint(Path("a\0b"))


@pytest.mark.parametrize(
    ("model", "is_hub_name"), [("gpt2", True), ("openai/gpt2", True), ("a/b/c", False), ("./a", False)]
)
def test_missing_model_names_the_import(model: str, is_hub_name: bool) -> None:
    with pytest.raises(CheckpointError) as caught:
        resolve_checkpoint(model)
    assert (f"inkhorn import {model}" in str(caught.value)) == is_hub_name


def test_every_folder_of_the_assets_is_a_shipped_model() -> None:
    assert {name: ASSETS / name for name in SHIPPED} == SHIPPED
    assert {path.parent for path in ASSETS.glob("*/*.safetensors")} == set(SHIPPED.values())
    assert "shakespeare" in SHIPPED, "the default model"
    for name, folder in SHIPPED.items():
        assert resolve_checkpoint(name) == folder
        assert display_name(name) == name


def test_a_further_shipped_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHIPPED, "sonnets", tmp_path / "assets" / "sonnets")
    assert resolve_checkpoint("sonnets") == tmp_path / "assets" / "sonnets"
    with pytest.raises(CheckpointError, match=rf"a shipped model \({', '.join(SHIPPED)}\)"):
        resolve_checkpoint("sonnet")
