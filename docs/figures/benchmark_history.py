"""Draw docs/benchmark-history.svg: each benchmark's medians over the releases.

    python docs/figures/benchmark_history.py [--history benchmarks/history] [--out docs/benchmark-history.svg]

Each file VERSION.jsonl of the history holds the last lines that the benchmarks printed.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import tyro
from matplotlib.figure import Figure
from packaging.version import Version

from inkhorn.errors import UsageError
from inkhorn.training.report.chart import RC_PARAMS

ROOT = Path(__file__).parents[2]


@dataclass
class Args:
    """Where the history is, and where to draw."""

    history: Path = ROOT / "benchmarks" / "history"
    """folder of VERSION.jsonl files"""
    out: Path = ROOT / "docs" / "benchmark-history.svg"
    """where to write the figure"""


@dataclass(frozen=True)
class Point:
    """A median of one series in one release."""

    version: str
    title: str
    unit: str
    name: str
    cpu: str
    median: float


def read_history(folder: Path) -> list[Point]:
    """Every median in a folder, in the order of the releases.

    Raises:
        UsageError: there is none, or a line is not one that a benchmark printed.
    """
    points = []
    for path in sorted(folder.glob("*.jsonl"), key=lambda path: Version(path.stem)):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                entry: dict[str, Any] = json.loads(line)
                here = entry["machine"]
                cpu = f"{here['cpu']}, {here['instruction_set']}, {here['cores']} cores"
                points += [
                    Point(path.stem, entry["title"], one["unit"], one["name"], cpu, float(one["median"]))
                    for one in entry["series"]
                ]
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(f"{path}, line {number}: not the last line of a benchmark: {error!r}") from None
    if not points:
        raise UsageError(f"{folder} has no measurements")
    return points


def draw(points: list[Point]) -> Figure:
    """One panel for each benchmark and unit; a line joins the releases of one series on one machine."""
    panels = list(dict.fromkeys((point.title, point.unit) for point in points))
    versions = list(dict.fromkeys(point.version for point in points))
    figure = Figure(figsize=(8.8, 2.6 * len(panels)), layout="constrained")
    for row, (title, unit) in enumerate(panels, 1):
        axes = figure.add_subplot(len(panels), 1, row, title=f"{title}, {unit}", yscale="log")
        lines: dict[tuple[str, str], list[Point]] = {}
        for point in points:
            if (point.title, point.unit) == (title, unit):
                lines.setdefault((point.name, point.cpu), []).append(point)
        for (name, cpu), line in lines.items():
            x = [versions.index(point.version) for point in line]
            axes.plot(x, [point.median for point in line], "o-", label=f"{name} ({cpu})")
        axes.set_xticks(range(len(versions)), versions)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="x-small")
    return figure


def main(argv: list[str]) -> None:
    args = tyro.cli(Args, args=argv, description=__doc__)
    with matplotlib.rc_context(RC_PARAMS):
        draw(read_history(args.history)).savefig(args.out, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UsageError as error:
        sys.exit(str(error))
