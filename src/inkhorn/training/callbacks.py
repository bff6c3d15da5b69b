"""Callbacks of a training run."""

from typing import Any


class Callbacks:
    """Receives messages and metrics while a model trains. This class ignores them, for all but the main process."""

    def log(self, text: str) -> None:
        """A message for the user."""

    def on_step(self, metrics: dict[str, Any]) -> None:
        """A training line of metrics.jsonl. On a GPU its loss is the mean since the line before."""

    def on_evaluate(self, metrics: dict[str, Any], sample: str) -> None:
        """An evaluation line of metrics.jsonl, and the sample that the model generated."""
