"""The progress bar of every command: a bar on a terminal, elsewhere a line now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

LINE_INTERVAL = 30.0
"""Seconds between lines if standard error is not a terminal."""


class ProgressBar:
    """Progress towards a total, on standard error. See `progress`."""

    def __init__(
        self, description: str, total: float | Callable[[], float] | None, unit: str, completed: float = 0
    ) -> None:
        self.description, self.total, self.unit, self.completed = description, total, unit, completed
        self.console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[status]}"))
        hidden = not self.console.is_terminal
        self.bar = Progress(*columns, console=self.console, disable=hidden, transient=True)
        self._task = self.bar.add_task(description, total=None, completed=int(completed), status="")
        self._first: tuple[float, float] | None = None
        self._last_line = time.monotonic()

    def advance(self, amount: float) -> None:
        self.update(self.completed + amount)

    def update(self, completed: float, details: str = "") -> None:
        """Set the completed amount; `details` are shown instead of the speed."""
        self.completed = completed
        if callable(self.total):
            self.total = self.total()
        now = time.monotonic()
        self._first = self._first or (now, completed)  # work of an earlier process does not count towards the speed
        status = self._status(now - self._first[0], completed - self._first[1], details)
        with _ignore_closed_output():
            self.bar.update(self._task, total=self.total, completed=completed, status=status)
        if not self.console.is_terminal and now - self._last_line > LINE_INTERVAL:
            self._last_line = now
            self.log(f"{self.description}: {status}")

    def _status(self, seconds: float, amount: float, details: str) -> str:
        assert not callable(self.total)
        of_total = "" if self.total is None else f" of {self.total:,.0f}"
        status = f"{self.completed:,.0f}{of_total} {self.unit}"
        speed = amount / seconds if seconds > 0 else 0.0
        if details or speed > 0:
            status += f", {details or f'{speed:,.0f} {self.unit}/s'}"
        if speed > 0 and self.total is not None:
            left = max(0, round((self.total - self.completed) / speed))
            status += f", {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
        return status

    def log(self, text: str) -> None:
        """Print a line, above the bar."""
        with _ignore_closed_output():
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def progress(
    description: str, total: float | Callable[[], float] | None, unit: str, completed: float = 0
) -> Iterator[ProgressBar]:
    """Show progress towards a total while the context is entered.

    Args:
        description: the label of the bar.
        total: the amount to do, or a function that gives it at the first update; None if it is unknown.
        unit: the counted items, in the plural.
        completed: the amount done before.
    """
    bar = ProgressBar(description, total, unit, completed)
    with _ignore_closed_output():
        bar.bar.start()
    try:
        yield bar
    finally:
        with _ignore_closed_output():
            bar.bar.stop()


def _ignore_closed_output() -> suppress:
    """Work must not end, unsaved, because its messages cannot be written: the terminal or the log's reader is gone."""
    return suppress(OSError)
