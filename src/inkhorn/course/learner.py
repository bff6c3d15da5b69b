"""The learner's folder: files with a hole, their checks, and which of them passed."""

import hashlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from inkhorn.course.chapter import HOLE, Chapter
from inkhorn.errors import InkhornError
from inkhorn.utils.files import atomic_write, write_json

FOLDER = Path("inkhorn-course")  # in the current folder
TIME_LIMIT = 60.0  # seconds; the checks take two to four


class ExerciseError(InkhornError):
    """An exercise cannot be written or checked."""


@dataclass(frozen=True)
class Outcome:
    """One check of an exercise."""

    what: str  # such as "average_weights(4)"
    problem: str | None  # in words; None if it passed


@dataclass(frozen=True)
class Exercise:
    """A learner's copy of a chapter."""

    chapter: Chapter

    @property
    def path(self) -> Path:
        return FOLDER / self.chapter.path.name

    @property
    def status(self) -> str:
        """One of "not started", "started", "passed", "changed since it passed"."""
        if not self.path.is_file():
            return "not started"
        passed = _progress().get(self.path.name)
        if passed is None:
            return "started"
        return "passed" if passed == self._sha256() else "changed since it passed"

    def write(self) -> None:
        """Write the file with its hole; ExerciseError if there is one already, which is the learner's work."""
        if self.path.exists():
            raise ExerciseError(
                f"{self.path} is there already, with your work, and stays as it is. Rename or delete it to start again"
            )
        with atomic_write(self.path) as partial:
            partial.write_text(self.chapter.exercise, encoding="utf-8")

    def check(self) -> list[Outcome]:
        """Run the checks on the file, in a process of its own.

        Raises:
            ExerciseError: there is no file, its hole is untouched, or its code ended or blocked the process.
        """
        if not self.path.is_file():
            number = self.chapter.number
            raise ExerciseError(f"there is no {self.path} here: inkhorn learn {number} writes it")
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ExerciseError(f"{self.path} is not UTF-8 text: {error}") from None
        for number, line in enumerate(lines, 1):
            if line.strip() == HOLE:
                raise ExerciseError(f"{self.path}, line {number} still says {HOLE.partition('  ')[0]!r}: replace it")
        outcomes = self._run()
        if all(outcome.problem is None for outcome in outcomes):
            write_json(FOLDER / "progress.json", _progress() | {self.path.name: self._sha256()})
        return outcomes

    def _run(self) -> list[Outcome]:
        with tempfile.TemporaryDirectory() as folder:
            results = Path(folder) / "results.json"
            words = [str(self.chapter.number), str(self.path), str(results)]
            try:
                done = subprocess.run(
                    [sys.executable, "-m", "inkhorn.course.check", *words], check=False, timeout=TIME_LIMIT
                )
            except subprocess.TimeoutExpired:
                raise ExerciseError(
                    f"the checks of {self.path} did not end within {TIME_LIMIT:g} seconds: does a loop never end?"
                ) from None
            if not results.is_file():
                raise ExerciseError(
                    f"{self.path} ended Python before its checks were done (exit code {done.returncode})"
                )
            return [Outcome(*outcome) for outcome in json.loads(results.read_text(encoding="utf-8"))]

    def _sha256(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def _progress() -> dict[str, str]:
    """Checksum of each file when it passed; empty if there is no record, or none that can be read."""
    try:
        found = json.loads((FOLDER / "progress.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
