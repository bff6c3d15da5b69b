"""What a run's folder records: run.json, metrics.jsonl and samples.jsonl."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkhorn.training.log_writer import read_log

Record = dict[str, Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RunLog:
    info: Record  # run.json
    training: list[Record]  # lines of metrics.jsonl with a training loss, sorted by step
    evaluations: list[Record]  # lines with a validation loss, sorted by step
    events: list[Record]  # lines with an event, in the order they were written
    samples: list[Record]  # lines of samples.jsonl, sorted by step

    def table(self, key: str) -> Record:
        """A nested table of run.json; empty if it is missing."""
        value = self.info.get(key)
        return value if isinstance(value, dict) else {}

    @property
    def last(self) -> Record:
        """The newest metrics; step 0 if there are none."""
        return max([*self.training, *self.evaluations], key=lambda record: record["step"], default={"step": 0})


def read_run(out: Path) -> RunLog:
    """Read the records of the run in `out`; files and lines that are missing or incomplete count as not yet written."""
    metrics = read_log(out / "metrics.jsonl")
    try:
        info = json.loads((out / "run.json").read_bytes())
    except (FileNotFoundError, ValueError):
        info = {}
    return RunLog(
        info=info if isinstance(info, dict) else {},
        training=_by_step([line for line in metrics if math.isfinite(number(line, "train/loss"))]),
        evaluations=_by_step([line for line in metrics if math.isfinite(number(line, "val/loss"))]),
        events=[line for line in metrics if "event" in line],
        samples=_by_step([line for line in read_log(out / "samples.jsonl") if isinstance(line.get("text"), str)]),
    )


def _by_step(lines: Sequence[Record]) -> list[Record]:
    """Sorted by step; of two lines with the same step the later one, which a resumed run wrote."""
    return [line for _, line in sorted({line["step"]: line for line in lines}.items())]


def number(record: Record, key: str) -> float:
    """A metric; nan if it is missing, not a number, or too large to plot."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
        return math.nan
    return float(value)


def series(records: Sequence[Record], key: str) -> tuple[Floats, Floats]:
    """Steps and values of a metric, (N,) each, where it is finite."""
    pairs = [(record["step"], value) for record in records if math.isfinite(value := number(record, key))]
    array = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def smooth(values: Floats) -> Floats:
    """A running mean, applied twice, over windows of 4 % of the line."""
    return _running_mean(_running_mean(values))


def _running_mean(values: Floats) -> Floats:
    n, half = len(values), max(1, len(values) // 50)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    i = np.arange(n)
    # The loss falls fast at the start, where the window is kept symmetric. It is nearly flat at the end, where a
    # symmetric window would show the noise of single points: there the window is cut off instead.
    reach = np.minimum(half, i)
    low, high = i - reach, np.minimum(i + reach, n - 1) + 1
    return np.asarray((sums[high] - sums[low]) / (high - low))
