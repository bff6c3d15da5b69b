"""Callbacks of a training run."""

from typing import Any, Protocol


class Callbacks(Protocol):
    """Receives messages and metrics while a model trains."""

    def log(self, text: str) -> None:
        """A message for the user."""

    def on_step(self, metrics: dict[str, Any]) -> None:
        """A training line of metrics.jsonl. On a GPU its loss is the mean since the line before."""

    def on_evaluate(self, metrics: dict[str, Any], sample: str) -> None:
        """An evaluation line of metrics.jsonl, and the sample that the model generated."""


class NullCallbacks:
    """Callbacks that do nothing, for all processes but the main one."""

    def log(self, text: str) -> None: ...

    def on_step(self, metrics: dict[str, Any]) -> None: ...

    def on_evaluate(self, metrics: dict[str, Any], sample: str) -> None: ...
