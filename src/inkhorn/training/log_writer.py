"""The log of a training run: `metrics.jsonl` and `samples.jsonl`, one JSON object with its step per line."""

from pathlib import Path
from typing import Any

from inkhorn.errors import TrainingError
from inkhorn.utils.jsonl import append_jsonl, read_jsonl, write_jsonl


class LogWriter:
    """Appends to the log of the run in a folder."""

    def __init__(self, out: Path) -> None:
        self.metrics, self.samples = out / "metrics.jsonl", out / "samples.jsonl"

    def append(self, path: Path, record: dict[str, Any]) -> None:
        """Append a record to `self.metrics` or `self.samples`; TrainingError if it cannot be written."""
        try:
            append_jsonl(path, record)
        except OSError as error:
            raise TrainingError(f"cannot write to {path}: {error}") from None

    def clear(self) -> None:
        """Delete the log of an earlier run."""
        for path in (self.metrics, self.samples):
            path.unlink(missing_ok=True)

    def trim(self, step: int) -> None:
        """Drop records after `step`, the checkpoint that training resumes from; events stay."""
        for path in (self.metrics, self.samples):
            if path.is_file():
                write_jsonl(path, [line for line in read_log(path) if line["step"] <= step or "event" in line])


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records that have a step; an incomplete line is skipped."""
    return [record for record in read_jsonl(path) if isinstance(record.get("step"), int)]
