"""Write the notebooks and their index from the Python files of this folder.   python docs/notebooks/build.py

Each file is a notebook in cells (inkhorn.course.cells). The builder adds a cell that installs the package and, as soon as
[project.urls] in pyproject.toml names a GitHub repository, a badge that opens the notebook in Colab.
"""

import re
import tomllib
from pathlib import Path

from inkhorn.course.cells import Cell, notebook, read_cells

DOCS = Path(__file__).parent
ROOT = DOCS.parents[1]
EXTRAS = {
    "generate_and_sample": "",
    "look_inside": "",
    "train_on_your_text": "train",
    "finetune_with_lora": "train",
    "evaluate": "train",
    "export": "train,gguf",
}
"""The notebooks in the order of the index, and the extras of the package that each needs."""
OTHER_PACKAGES = {"export": " transformers"}


def repository() -> str:
    """OWNER/NAME of the GitHub repository in [project.urls], or an empty string."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for url in project.get("urls", {}).values():
        if found := re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?/?", url):
            return found[1]
    return ""


def source_of(name: str) -> str:
    return (DOCS / f"{name}.py").read_text("utf-8")


def title_of(name: str) -> str:
    return read_cells(source_of(name))[0].text.splitlines()[0].removeprefix("# ")


def summary_of(name: str) -> str:
    """The first paragraph."""
    return read_cells(source_of(name))[0].text.split("\n\n")[1].replace("\n", " ")


def badge(name: str, owner_and_name: str) -> str:
    target = f"https://colab.research.google.com/github/{owner_and_name}/blob/main/docs/notebooks/{name}.ipynb"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({target})"


def build(name: str, owner_and_name: str) -> str:
    """The notebook of a file."""
    title, *rest = read_cells(source_of(name))
    if owner_and_name:
        heading, text = title.text.split("\n", 1)
        title = Cell(True, f"{heading}\n\n{badge(name, owner_and_name)}\n{text}")
    extras = f"[{EXTRAS[name]}]" if EXTRAS[name] else ""
    install = Cell(False, f'# %pip install -q "inkhorn{extras}"{OTHER_PACKAGES.get(name, "")}')
    return notebook([title, install, *rest])


def index(owner_and_name: str) -> str:
    """README.md of this folder."""
    lines = [
        "# Notebooks",
        "",
        "One notebook for each main path. Each runs in a minute or two on two CPU cores; the first cell installs the package.",
        "",
        "| notebook | about |",
        "| --- | --- |",
    ]
    for name in EXTRAS:
        opens = f" {badge(name, owner_and_name)}" if owner_and_name else ""
        lines.append(f"| [{title_of(name)}]({name}.ipynb){opens} | {summary_of(name)} |")
    lines += ["", "They are written from the Python files beside them: `python docs/notebooks/build.py`."]
    return "\n".join(lines) + "\n"


def main() -> None:
    owner_and_name = repository()
    for name in EXTRAS:
        (DOCS / f"{name}.ipynb").write_text(build(name, owner_and_name), "utf-8")
    (DOCS / "README.md").write_text(index(owner_and_name), "utf-8")


if __name__ == "__main__":
    main()
