"""The checks of one exercise, run on the learner's file: `python -m inkhorn.course.check NUMBER FILE RESULTS`.

A process of its own, so that code that crashes or never ends does no harm. RESULTS receives the outcomes as JSON.
"""

import importlib.util
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from inkhorn.course.chapter import chapters
from inkhorn.course.compare import difference
from inkhorn.course.exercises import CHECKS, Check


def main(number: str, file: str, results: str) -> None:
    torch.set_num_threads(1)
    outcomes = outcomes_of(int(number), Path(file).resolve())
    Path(results).write_text(json.dumps(outcomes), encoding="utf-8")


def load(path: Path) -> ModuleType:
    """Import a chapter from its file."""
    spec = importlib.util.spec_from_file_location(f"chapter_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outcomes_of(number: int, path: Path) -> list[tuple[str, str | None]]:
    """What each check looks at, and what is wrong with it, if anything is."""
    reference = load(chapters()[number].path)
    learner, problem = _attempt(lambda: load(path), path)
    if problem:
        return [(path.name, problem)]
    return [(check.what, _problem(check, reference, learner, path)) for check in CHECKS[number]]


def _problem(check: Check, reference: ModuleType, learner: ModuleType, path: Path) -> str | None:
    torch.manual_seed(0)
    expected = check.result(reference)
    torch.manual_seed(0)
    found, problem = _attempt(lambda: check.result(learner), path)
    if problem:
        return problem
    wrong = difference(expected, found)
    return wrong and f"{wrong}\n{check.why}"


def _attempt(action: Callable[[], Any], path: Path) -> tuple[Any, str | None]:
    """The result of an action, or the error that ended it, with the line of the learner's file."""
    try:
        return action(), None
    except SyntaxError as error:
        code = (error.text or "").strip()
        return None, f"Python cannot read line {error.lineno}: {code}\n{type(error).__name__}: {error.msg}"
    except BaseException as error:  # SystemExit, too: the checks must go on
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
        if frames:
            where = f"line {frames[-1].lineno} failed: {frames[-1].line}"
        else:
            where = "the file no longer fits its check"
        return None, f"{where}\n{type(error).__name__}: {error}"


if __name__ == "__main__":
    main(*sys.argv[1:])
