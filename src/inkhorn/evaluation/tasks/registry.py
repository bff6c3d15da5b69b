"""The tasks by name."""

from collections.abc import Callable, Iterable
from pathlib import Path

from inkhorn.errors import UsageError, nearest
from inkhorn.evaluation.evaldata import HELLASWAG, LAMBADA, WIKITEXT2, EvalFile, EvalText
from inkhorn.evaluation.tasks.hellaswag import HellaSwag, HellaSwagCompletion
from inkhorn.evaluation.tasks.lambada import Lambada
from inkhorn.evaluation.tasks.task import Reader, Task
from inkhorn.evaluation.tasks.wikitext import WikiTextPages, sliding

Make = Callable[[EvalText, Reader, int | None], Task]
"""from the data, the model's reader and the stride, which only windows have"""

TASKS: dict[str, tuple[EvalFile, Make]] = {
    "lambada": (LAMBADA, lambda data, reader, _: Lambada(data, reader)),
    "hellaswag-lm-eval": (HELLASWAG, lambda data, reader, _: HellaSwag(data, reader)),
    "hellaswag-completion": (HELLASWAG, lambda data, reader, _: HellaSwagCompletion(data, reader)),
    "wikitext2-lm-eval": (WIKITEXT2, lambda data, reader, _: WikiTextPages(data, reader)),
    "wikitext2-sliding": (WIKITEXT2, sliding),
}

GROUPS = {
    "hellaswag": ("hellaswag-lm-eval", "hellaswag-completion"),
    "wikitext2": ("wikitext2-lm-eval", "wikitext2-sliding"),
    "all": tuple(TASKS),
}
"""names for several tasks"""


def chosen(names: Iterable[str]) -> list[str]:
    """The tasks that some names of tasks and groups mean, each once; UsageError for an unknown name."""
    found: dict[str, None] = {}
    for name in names:
        if name not in TASKS and name not in GROUPS:
            raise UsageError(f"there is no task {name!r}: {nearest(name, [*TASKS, *GROUPS])}")
        found |= dict.fromkeys(GROUPS.get(name, (name,)))
    return list(found)


def task(name: str, folder: Path | None, reader: Reader, stride: int | None) -> tuple[Task, EvalText]:
    """A task with its data, from a folder or the cache; CorpusError where the data cannot be had."""
    file, make = TASKS[name]
    data = file.read(folder)
    return make(data, reader, stride), data
