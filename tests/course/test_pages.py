"""The pages and notebooks of docs/course are those of the chapters, and the chapters print what the pages say."""

import ast
import difflib
import json
import re
import subprocess
import sys
from typing import Any

import pytest
from helpers.paths import DATA, ROOT
from helpers.scripts import load_script

from inkhorn.course.cells import notebook
from inkhorn.course.chapter import Chapter, chapters

DOCS = ROOT / "docs" / "course"
TINY = DATA / "shakespeare" / "tiny.txt"
NUMBERS = sorted(chapters())


build: Any = load_script(DOCS / "build.py")


def recorded(number: int) -> str:
    """The output on a chapter's page."""
    output: str = build.output_in(build.page_of(chapters()[number]))
    assert output, f"chapter {number} has no output: make course"
    return output


@pytest.mark.parametrize("number", NUMBERS)
def test_pages_are_up_to_date(number: int) -> None:
    chapter = chapters()[number]
    assert build.page_of(chapter).read_text("utf-8") == build.page(chapter, recorded(number)), "make course"
    assert build.notebook_of(chapter).read_text("utf-8") == notebook(chapter.cells()), "make course"


@pytest.mark.parametrize("number", NUMBERS)
def test_notebook_is_the_file(number: int) -> None:
    """Its code cells, one after the other, are the chapter."""
    cells = json.loads(build.notebook_of(chapters()[number]).read_text("utf-8"))["cells"]
    code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert ast.dump(ast.parse(code)) == ast.dump(ast.parse(chapters()[number].source))


@pytest.mark.parametrize("number", NUMBERS)
def test_chapter_length(number: int) -> None:
    assert 30 <= len(chapters()[number].complete.splitlines()) <= 200


@pytest.mark.parametrize("number", NUMBERS)
def test_loss_tables(number: int) -> None:
    """The table at the end of a chapter has the losses that it and the chapters before it printed."""
    rows = dict(re.findall(r"^# \| (\d+)\. .* \| (.*) \|$", chapters()[number].source, re.M))
    losses = {str(n): loss for n in NUMBERS if n <= number and (loss := build.validation_loss(recorded(n)))}
    assert rows == losses


def test_index_lists_every_chapter() -> None:
    index = (DOCS / "README.md").read_text("utf-8")
    for chapter in chapters().values():
        assert f"| [{chapter.number}. {chapter.title}]({chapter.path.stem}.md) | {chapter.question} |" in index


def functions(chapter: Chapter) -> dict[str, str]:
    """The functions and classes of a chapter, by name."""
    tree = ast.parse(chapter.complete)
    return {n.name: ast.unparse(n) for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("number", [n for n in NUMBERS if 3 < n < 9])
def test_only_the_model_changes(number: int) -> None:
    """From chapter 3 to 8 text, batches, training and writing stay the same, to the letter."""
    before, now = functions(chapters()[number - 1]), functions(chapters()[number])
    for name in ("random_batch", "train", "evaluate", "generate"):
        difference = "\n".join(difflib.unified_diff(before[name].splitlines(), now[name].splitlines(), lineterm=""))
        assert not difference, difference


def losses_in(output: str) -> list[float]:
    return [float(loss) for loss in re.findall(r"loss(?: before training)? (\d+\.\d\d)", output)]


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_losses_are_reproduced(number: int) -> None:
    """Every loss that a chapter prints is within 0.02 of the one on its page."""
    if not TINY.is_file():
        pytest.skip(f"test data missing: {TINY}")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(chapters()[number].path), str(TINY)],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert losses_in(done.stdout) == pytest.approx(losses_in(recorded(number)), abs=0.02)
