"""Who is told how a run goes: the user, by `progress.py`, or nobody."""

from typing import Any, Protocol


class Callbacks(Protocol):
    """Is told what happens; see `progress.py`."""

    def say(self, text: str) -> None:
        """Something the user should read."""

    def step(self, metrics: dict[str, Any]) -> None:
        """What a training line of metrics.jsonl says: on a GPU losses are means since the last one, else one step's."""

    def evaluated(self, metrics: dict[str, Any], sample: str) -> None:
        """An evaluation line, and what the model wrote."""


class NullCallbacks:
    """The callbacks of a process that is not the first."""

    def say(self, text: str) -> None:
        """Nothing."""

    def step(self, metrics: dict[str, Any]) -> None:
        """Nothing."""

    def evaluated(self, metrics: dict[str, Any], sample: str) -> None:
        """Nothing."""
