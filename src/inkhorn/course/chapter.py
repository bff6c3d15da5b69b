"""A chapter of the course: a Python file in cells, with an exercise between two marker lines.

The lines between `# EXERCISE: TASK` and `# END` are the solution: the learner's copy has a line to replace in their
place.
"""

import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from inkhorn.course.cells import Cell, read_cells

FOLDER = Path(__file__).parent / "chapters"

HOLE = "raise NotImplementedError  # replace this line with your code"

_EXERCISE = re.compile(r"^( *)# EXERCISE: ([^\n]*)\n(.*?)^ *# END\n", re.M | re.S)


@dataclass(frozen=True)
class Chapter:
    """A chapter by the file that holds it."""

    path: Path

    @property
    def number(self) -> int:
        return int(self.path.name[:2])

    @cached_property
    def source(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def title(self) -> str:
        """Such as "Bigram: counting letter pairs"."""
        return self._found(r"^# # \d+\. (.*)$")

    @property
    def question(self) -> str:
        """The question that the chapter answers."""
        return self._found(r"^# \*\*(.*)\*\*$")

    @property
    def task(self) -> str:
        """What the exercise asks for."""
        return self._found(r"^ *# EXERCISE: (.*)$")

    def _found(self, pattern: str) -> str:
        match = re.search(pattern, self.source, re.M)
        assert match is not None, f"{self.path.name} has no {pattern}"
        return match[1]

    @property
    def complete(self) -> str:
        """The file without the marker lines."""
        return _EXERCISE.sub(r"\3", self.source)

    @property
    def exercise(self) -> str:
        """The file with a hole: what the learner gets."""
        return _EXERCISE.sub(rf"\1# EXERCISE: \2\n\1{HOLE}\n", self.source)

    @property
    def solution(self) -> str:
        """The lines that fill the hole, as they are indented in the file."""
        return self._found(r"^ *# EXERCISE: .*\n((?:.*\n)*?) *# END\n")

    def cells(self) -> list[Cell]:
        """The cells of the complete file, in order."""
        return read_cells(self.complete)


@cache
def chapters() -> dict[int, Chapter]:
    """All chapters by number."""
    found = (Chapter(path) for path in sorted(FOLDER.glob("[0-9][0-9]_*.py")))
    return {chapter.number: chapter for chapter in found}
