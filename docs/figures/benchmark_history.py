"""Draw docs/benchmark-history.svg: each benchmark's main medians over the releases.

    python docs/figures/benchmark_history.py [--history benchmarks/history] [--out docs/benchmark-history.svg]

Each file VERSION.jsonl of the history holds the last lines that the benchmarks printed.
"""

import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import tyro
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from packaging.version import Version

from inkhorn.errors import UsageError
from inkhorn.training.report.chart import RC_PARAMS, save_svg

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
    """The main medians in a folder, in the order of the releases.

    A benchmark's main unit is that of its first series. Names that it repeats, such as the CPU time of each server, are
    details of the series before them and are left out.

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
                names = Counter(one["name"] for one in entry["series"])
                points += [
                    Point(path.stem, entry["title"], one["unit"], one["name"], cpu, float(one["median"]))
                    for one in entry["series"]
                    if one["unit"] == entry["series"][0]["unit"] and names[one["name"]] == 1
                ]
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise UsageError(f"{path}, line {number}: not the last line of a benchmark: {error!r}") from None
    if not points:
        raise UsageError(f"{folder} has no measurements")
    return points


def draw(points: list[Point]) -> Figure:
    """One panel for each benchmark; a line joins the releases of one series on one machine."""
    panels: dict[str, dict[tuple[str, str], list[Point]]] = {}
    for point in points:
        panels.setdefault(f"{point.title}, {point.unit}", {}).setdefault((point.name, point.cpu), []).append(point)
    versions = list(dict.fromkeys(point.version for point in points))
    heights = [max(2.6, 0.8 + 0.19 * len(lines)) for lines in panels.values()]  # inches; the legend has a row per line
    figure = Figure(figsize=(8.8, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(panels), 1, height_ratios=heights)
    for row, (title, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[row], title=title, yscale="log")
        for (name, cpu), line in lines.items():
            x = [versions.index(point.version) for point in line]
            axes.plot(x, [point.median for point in line], "o-", label=f"{name} ({cpu})")
        axes.set_xticks(range(len(versions)), versions)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.yaxis.set_minor_formatter("")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="x-small")
    return figure


def main(argv: list[str]) -> None:
    args = tyro.cli(Args, args=argv, description=__doc__)
    with matplotlib.rc_context(RC_PARAMS):
        save_svg(draw(read_history(args.history)), args.out)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UsageError as error:
        sys.exit(str(error))
