"""The cells of a Python file, and a Jupyter notebook of them.

A cell starts with `# %%`; `# %% [markdown]` starts one of prose, each line a comment. A line of a code cell that starts
with `# !` is a shell command, and one with `# %` is IPython's: comments in the file, active in the notebook.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_CELL = re.compile(r"^# %%(.*)\n", re.M)
_COMMAND = re.compile(r"^# (?=!|%\w)", re.M)


@dataclass(frozen=True)
class Cell:
    """A part of a file: prose in Markdown, or code."""

    is_prose: bool
    text: str


def read_cells(source: str) -> list[Cell]:
    """The cells of a file, in order. Lines before the first cell are left out."""
    _, *parts = _CELL.split(source)
    cells = []
    for kind, body in zip(parts[::2], parts[1::2], strict=True):
        is_prose = kind.strip() == "[markdown]"
        text = re.sub(r"^# ?", "", body, flags=re.M) if is_prose else body
        cells.append(Cell(is_prose, text.strip("\n")))
    return cells


def notebook(cells: Iterable[Cell]) -> str:
    """A Jupyter notebook (nbformat 4.5), without output."""
    entries: list[dict[str, Any]] = []
    for i, cell in enumerate(cells):
        kind = "markdown" if cell.is_prose else "code"
        of_code: dict[str, Any] = {} if cell.is_prose else {"execution_count": None, "outputs": []}
        text = cell.text if cell.is_prose else _COMMAND.sub("", cell.text)
        lines = text.splitlines(keepends=True)
        entries.append({"cell_type": kind, "id": f"cell-{i}", "metadata": {}, "source": lines, **of_code})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": entries, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
