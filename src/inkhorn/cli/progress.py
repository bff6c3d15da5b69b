"""A bar for what takes long: shown on a terminal; elsewhere reading is silent, counting says a line now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from inkhorn.data.shard_writer import Callbacks
from inkhorn.data.text import TextSource

_SECONDS = 30.0
"""between lines where there is no terminal"""


@contextmanager
def tokenising(source: TextSource, readings: int = 1) -> Iterator[Callable[[int], None]]:
    """A progress bar over `readings` reads of a text: one to train a BPE tokenizer, if any, and one to encode it.

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
                bar.update(task, total=readings * source.summary.n_chars)
            bar.advance(task, characters)

        yield advance


@contextmanager
def counting(what: str, unit: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A bar over so many of a unit, of which some are done; yields what to call with how many more are."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    last = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done)

        def advance(more: int) -> None:
            nonlocal done, last
            done += more
            bar.advance(task, more)
            if not console.is_terminal and time.monotonic() - last > _SECONDS:
                last = time.monotonic()
                console.print(f"{what}: {done:,} of {total:,} {unit}", highlight=False, markup=False)

        yield advance


@contextmanager
def filling(what: str, total: int | None) -> Iterator[Callbacks]:
    """A bar over the tokens that documents become, `total` of them or all there are, with their speed.

    What a run before this one made counts for the bar, but not for the speed.
    """
    console = Console(stderr=True)
    columns = (TextColumn("tokenising {task.description}"), BarColumn(), TextColumn("{task.fields[status]}"))
    start = last = time.monotonic()
    had: int | None = None
    done = 0
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total, status="")

        def say(text: str) -> None:
            console.print(text, highlight=False, markup=False, soft_wrap=True)

        def advance(tokens: int) -> None:
            nonlocal had, done, start, last
            done += tokens
            now = time.monotonic()
            if had is None:
                had, start = done, now
            speed = (done - had) / max(1e-9, now - start)
            status = _pace(done, total, speed)
            bar.update(task, completed=done, status=status)
            if not console.is_terminal and now - last > _SECONDS:
                last = now
                say(f"tokenising {what}: {status}")

        yield Callbacks(tokens=advance, say=say)


def _pace(done: int, total: int | None, speed: float) -> str:
    """How far, how fast and how long to go."""
    status = f"{done / 1e6:,.1f}M tokens" if total is None else f"{done / 1e6:,.1f}M of {total / 1e6:,.0f}M tokens"
    if speed > 0:
        status += f", {speed:,.0f} a second"
        if total is not None:
            left = max(0, round((total - done) / speed))
            status += f", {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
    return status
