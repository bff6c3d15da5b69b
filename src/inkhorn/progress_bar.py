"""A bar for long reading: shown on a terminal, silent elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from inkhorn.textsource import TextSource


@contextmanager
def tokenising(source: TextSource, readings: int = 2) -> Iterator[Callable[[int], None]]:
    """A bar over the readings of a text that tokenising takes: one for its alphabet and one to encode it.

    Yields what to call with characters done.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("tokenising {task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        # The length is known only once the text has been read: until something is done there is nothing to show.
        task = bar.add_task(source.name, total=None)

        def advance(characters: int) -> None:
            if bar.tasks[task].total is None:
                bar.update(task, total=readings * source.n_chars)
            bar.advance(task, characters)

        yield advance
