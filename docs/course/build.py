"""Write the page and the notebook of each chapter of the course.   python docs/course/build.py [--run] [--text FILE]

With --run the chapters run first: their output goes into the pages, and their losses into the tables of all chapters.
Without it the pages keep the output that they have.
"""

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from inkhorn.course.cells import notebook
from inkhorn.course.chapter import Chapter, chapters

DOCS = Path(__file__).parent
_OUTPUT_AT_RUN = re.compile(r"^Output:\n\n```text\n(.*?)\n```\n", re.M | re.S)
_ROW = r"^# \| {}\. (.*?) \| .*? \|$"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", action="store_true", help="run the chapters first")
    parser.add_argument("--text", help="the text that they learn from; default: tiny Shakespeare")
    options = parser.parse_args()
    outputs = {number: output_in(page_of(chapter)) for number, chapter in chapters().items()}
    if options.run:
        for number, chapter in chapters().items():
            began = time.perf_counter()
            outputs[number] = run(chapter, options.text)
            print(f"{chapter.path.name}: {time.perf_counter() - began:.1f} s", flush=True)
            if loss := validation_loss(outputs[number]):
                write_loss(number, loss)
        chapters.cache_clear()  # the files have changed
    for number, chapter in chapters().items():
        page_of(chapter).write_text(page(chapter, outputs[number]), encoding="utf-8")
        notebook_of(chapter).write_text(notebook(chapter.cells()), encoding="utf-8")


def page_of(chapter: Chapter) -> Path:
    return DOCS / f"{chapter.path.stem}.md"


def notebook_of(chapter: Chapter) -> Path:
    return DOCS / f"{chapter.path.stem}.ipynb"


def run(chapter: Chapter, text: str | None) -> str:
    """What a chapter prints."""
    words = [sys.executable, str(chapter.path), *([text] if text else [])]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip("\n")


def validation_loss(output: str) -> str | None:
    """The last validation loss in a chapter's output, as it is printed."""
    found = re.findall(r"^validation loss (\d+\.\d\d)$", output, re.M)
    return found[-1] if found else None


def write_loss(number: int, loss: str) -> None:
    """Put a chapter's loss into the table of every chapter."""
    for other in chapters().values():
        text = re.sub(_ROW.format(number), rf"# | {number}. \1 | {loss} |", other.source, flags=re.M)
        other.path.write_text(text, encoding="utf-8")
        other.__dict__.pop("source", None)  # read it again


def output_in(path: Path) -> str:
    """The output that a page shows; empty without one."""
    match = _OUTPUT_AT_RUN.search(path.read_text(encoding="utf-8")) if path.is_file() else None
    return match[1] if match else ""


def page(chapter: Chapter, output: str) -> str:
    """A chapter in Markdown, with what it prints below the code that runs it."""
    parts = []
    for cell in chapter.cells():
        parts.append(f"{cell.text}\n" if cell.is_prose else f"```python\n{cell.text}\n```\n")
        if 'if __name__ == "__main__":' in cell.text:
            parts.append(f"Output:\n\n```text\n{output}\n```\n")
    parts.insert(1, _links(chapter))
    parts.append(_neighbors(chapter))
    return "\n".join(parts)


def _links(chapter: Chapter) -> str:
    return (
        f"Chapter {chapter.number} of [Build a GPT](README.md) as one file: "
        f"[{chapter.path.name}](../../src/inkhorn/course/chapters/{chapter.path.name}); "
        f"as a notebook: [{notebook_of(chapter).name}]({notebook_of(chapter).name}); "
        f"its exercise: `inkhorn learn {chapter.number}`.\n"
    )


def _neighbors(chapter: Chapter) -> str:
    links = [
        f"[{word}: {other.title}]({page_of(other).name})"
        for word, number in (("Previous", chapter.number - 1), ("Next", chapter.number + 1))
        if (other := chapters().get(number))
    ]
    return " · ".join(links) + "\n"


if __name__ == "__main__":
    main()
