"""What a run writes down as it goes: `metrics.jsonl` and `samples.jsonl`, a JSON object a line, each with its step."""

import json
from pathlib import Path
from typing import Any

from inkhorn.errors import TrainingError


class Records:
    """Appends to a run's records.

    Args:
        out: the run's folder.

    """

    def __init__(self, out: Path) -> None:
        self.metrics, self.samples = out / "metrics.jsonl", out / "samples.jsonl"

    def append(self, path: Path, line: dict[str, Any]) -> None:
        """Add a line to `self.metrics` or `self.samples`."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as error:
            raise TrainingError(f"cannot write to {path}: {error}") from None

    def clear(self) -> None:
        """Forget what an earlier run wrote here."""
        for path in (self.metrics, self.samples):
            path.unlink(missing_ok=True)

    def trim(self, step: int) -> None:
        """Drop what was written after `step` by a run that had gone further than its last checkpoint; events stay."""
        for path in (self.metrics, self.samples):
            if path.is_file():
                kept = [line for line in read_lines(path) if line["step"] <= step or "event" in line]
                path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept), encoding="utf-8")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a record; one that a crash cut in half is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines
