"""`inkhorn learn`: the course "Build a GPT" and its exercises."""

import textwrap
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import tyro

from inkhorn.cli.parsing import exclusive, parse
from inkhorn.errors import UsageError, require

if TYPE_CHECKING:
    from inkhorn.course.learner import Exercise


@dataclass(frozen=True, kw_only=True)
class LearnArgs:
    """List the chapters of the course "Build a GPT", or write and check the exercise of one.

    Example: inkhorn learn 1
    """

    number: Annotated[tyro.conf.Positional[int | None], tyro.conf.arg(metavar="[N]", help_behavior_hint="")] = None
    """a chapter: write its file, with a hole to fill, to the folder inkhorn-course; without it, list the chapters"""
    check: bool = False
    """check your file"""
    solution: bool = False
    """show the lines that fill the hole"""


def run(argv: list[str]) -> int:
    from inkhorn.course.chapter import chapters
    from inkhorn.course.learner import Exercise

    args = parse(LearnArgs, argv, "inkhorn learn")
    exclusive(args, "check", "solution")
    if args.number is None:
        require(not args.check and not args.solution, "name a chapter, such as inkhorn learn 1 --check")
        _list()
        return 0
    chapter = chapters().get(args.number)
    if chapter is None:
        raise UsageError(f"there is no chapter {args.number}: the chapters are 1 to {len(chapters())}")
    if args.solution:
        print(chapter.solution, end="")
        return 0
    if args.check:
        return _check(Exercise(chapter))
    _write(Exercise(chapter))
    return 0


def _list() -> None:
    from inkhorn.course.chapter import chapters
    from inkhorn.course.learner import Exercise

    for chapter in chapters().values():
        print(f"{chapter.number:2}  {chapter.title} ({Exercise(chapter).status})\n    {chapter.question}")
    print("\nStart one: inkhorn learn 1")


def _write(exercise: "Exercise") -> None:
    exercise.write()
    chapter, path = exercise.chapter, exercise.path
    print(f"{chapter.number}. {chapter.title}: written to {path}\n")
    print(textwrap.fill(f"Open it in an editor and read it. Your task: {chapter.task}.", 100))
    print(f"\nThen check it: inkhorn learn {chapter.number} --check\nand train it:  python {path}")


def _check(exercise: "Exercise") -> int:
    if find_spec("torch") is None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    outcomes = exercise.check()
    for outcome in outcomes:
        if outcome.problem is None:
            print(f"ok      {outcome.what}")
        else:
            print(f"FAILED  {outcome.what}: {textwrap.indent(outcome.problem, ' ' * 8).lstrip()}")
    failed = sum(outcome.problem is not None for outcome in outcomes)
    number = exercise.chapter.number
    if failed:
        print(f"\n{failed} of {len(outcomes)} checks failed. To see the solution: inkhorn learn {number} --solution")
        return 1
    print(f"\nChapter {number}: all {len(outcomes)} checks passed. Train it: python {exercise.path}")
    return 0
