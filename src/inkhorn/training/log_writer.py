"""The log of a training run: `metrics.jsonl` and `samples.jsonl`, one JSON object with its step per line."""

from pathlib import Path
from typing import Any

from inkhorn.errors import TrainingError
from inkhorn.utils.files import fsync
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

    def flush(self) -> None:
        """Flush the log to the disk, before a checkpoint that relies on it."""
        for path in (self.metrics, self.samples):
            if path.is_file():
                fsync(path)

    def clear(self) -> None:
        """Delete the log of an earlier run."""
        for path in (self.metrics, self.samples):
            path.unlink(missing_ok=True)

    def trim(self, step: int, last_eval_step: int, rollbacks: int) -> None:
        """Drop what was recorded after the checkpoint that training resumes from and will be recorded again.

        Args:
            step: the checkpoint's step.
            last_eval_step: the step of the last evaluation that the checkpoint knows; later ones are made again.
            rollbacks: how many rollbacks the checkpoint knows; the records of later ones are dropped.
        """

        def keep(line: dict[str, Any]) -> bool:
            nonlocal rollbacks
            if "event" in line:
                rollbacks -= 1
                return rollbacks >= 0
            return bool(line["step"] <= (last_eval_step if "val/loss" in line else step))

        for path in (self.metrics, self.samples):
            if path.is_file():
                write_jsonl(path, [line for line in read_log(path) if keep(line)])


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records that have a step; an incomplete line is skipped."""
    return [record for record in read_jsonl(path) if isinstance(record.get("step"), int)]
