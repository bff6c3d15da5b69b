"""The notebooks of docs/notebooks are those of their Python files, and each runs in Jupyter's kernel."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.paths import ROOT
from helpers.scripts import load_script

DOCS = ROOT / "docs" / "notebooks"


build: Any = load_script(DOCS / "build.py")
NAMES = list(build.EXTRAS)


def test_every_file_is_a_notebook() -> None:
    assert {path.stem for path in DOCS.glob("*.py")} == {*NAMES, "build"}
    assert {path.stem for path in DOCS.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_up_to_date(name: str) -> None:
    stored = (DOCS / f"{name}.ipynb").read_text("utf-8")
    assert stored == build.build(name, build.repository()), "run: python docs/notebooks/build.py"


def test_index_is_up_to_date() -> None:
    assert (DOCS / "README.md").read_text("utf-8") == build.index(build.repository())


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_installation(name: str) -> None:
    cells = json.loads(build.build(name, ""))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    extras = build.EXTRAS[name]
    assert code[0].startswith(f'%pip install -q "inkhorn{f"[{extras}]" if extras else ""}"')
    assert not any(line.startswith("# !") for cell in code for line in cell.splitlines())


def test_badge_needs_a_public_address() -> None:
    target = "https://colab.research.google.com/github/someone/inkhorn/blob/main/docs/notebooks/evaluate.ipynb"
    assert target in build.build("evaluate", "someone/inkhorn")
    assert target in build.index("someone/inkhorn")
    assert "colab" not in build.build("evaluate", "")


@pytest.mark.notebook
@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel: install the group test-all")
    import nbformat

    notebook = nbformat.reads(build.build(name, ""), as_version=4)
    nbformat.validate(notebook)
    notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith("%pip")]
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    client = nbclient.NotebookClient(notebook, timeout=1500, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        text = "".join(output.get("text", "") for output in cell.outputs)
        if cell.source.startswith("!"):  # a shell command that fails does not stop a notebook
            assert "Error" not in text, text
            assert "not found" not in text, text
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    if name in ("generate_and_sample", "look_inside", "evaluate"):
        assert any("text/html" in output.get("data", {}) for output in shown)
    (tmp_path / "executed.ipynb").write_text(nbformat.writes(notebook), "utf-8")
