"""What record.py tells of its runs: the points of each, the statistics over the seeds, and both in words and JSON."""

import json
import shutil
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common import Series, report

LONG = 5  # times the median step: what takes longer is not only a step


@dataclass(frozen=True)
class Point:
    """A model on its way: steps made, seconds of training, loss over the whole validation split.

    `startup` are the seconds of compiling so far, a part of `seconds`.
    """

    step: int
    seconds: float
    loss: float
    startup: float

    def __str__(self) -> str:
        return f"step {self.step:,}: loss {self.loss:.4f} after {self.seconds:,.1f} s"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What came of one training.

    `steps` are those of the whole recipe, `own_estimate` is nanoGPT's best loss by its own random batches.
    """

    side: str
    seed: int
    parameters: int
    steps: int
    tokens_per_step: int
    curve: tuple[Point, ...]
    notes: tuple[str, ...] = ()
    own_estimate: float | None = None

    @property
    def lowest(self) -> Point:
        return min(self.curve, key=lambda point: point.loss)

    @property
    def final(self) -> Point:
        return self.curve[-1]

    @property
    def tokens_per_second(self) -> float:
        return self.final.step * self.tokens_per_step / (self.final.seconds - self.final.startup)

    @property
    def ended(self) -> bool:
        """Whether it came to its last step."""
        return self.final.step >= self.steps

    def passed(self, goal: float) -> Point | None:
        """The first point as low as the goal."""
        return next((point for point in self.curve if point.loss <= goal), None)

    def story(self, goal: float, minutes: float | None) -> str:
        """How it went, in words."""
        first, last, rate = self.passed(goal), self.final, f"{self.tokens_per_second:,.0f} tokens/s"
        whole = self.ended or minutes is None
        told = f"{self.side}, seed {self.seed}: {goal:g} "
        if first is not None:
            told += f"passed after {first.seconds:,.1f} s, at step {first.step:,}"
        else:
            told += f"not reached in {last.step:,} steps" if whole else f"not reached in {minutes:g} min"
        if whole:
            low = f"lowest {self.lowest.loss:.4f} at step {self.lowest.step:,}, at the end {last.loss:.4f}"
            return f"{told}; {low} after {last.seconds:,.1f} s ({rate}, {last.startup:.1f} s start-up)"
        left = last.startup + self.steps * self.tokens_per_step / self.tokens_per_second
        tokens = f"{last.step * self.tokens_per_step:,} tokens"
        return (
            f"{told}: loss {last.loss:.4f} after {tokens}, {rate}, "
            f"which makes about {hours(left)} to its {self.steps:,} steps"
        )


def startup(seconds: Sequence[float]) -> float:
    """What the steps that take more than LONG times the median take beyond it, wherever they come."""
    usual = statistics.median(seconds) if seconds else 0.0
    return sum((step - usual for step in seconds if step > LONG * usual), 0.0)


def hours(seconds: float) -> str:
    """A time in hours, to two digits below ten."""
    number = seconds / 3600
    return f"{number:,.0f} hours" if number >= 10 else f"{number:.2g} hours"


def summary(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, standard deviation (of a sample; None for a single value), lowest and highest."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "deviation": deviation, "lowest": min(values), "highest": max(values)}


def series_of(runs: Sequence[Run], goal: float) -> list[Series]:
    """What is told of one side's runs; the seconds only of those that reached the goal."""
    side, reached = runs[0].side, passes(runs, goal)
    estimates = [run.own_estimate for run in runs if run.own_estimate is not None]
    found = [
        Series(f"{side}: seconds to {goal:g}", "s", tuple(point.seconds for point in reached)),
        Series(f"{side}: the same without start-up", "s", tuple(point.seconds - point.startup for point in reached)),
        Series(f"{side}: lowest loss", "nats", tuple(run.lowest.loss for run in runs)),
        Series(f"{side}: loss at the end", "nats", tuple(run.final.loss for run in runs)),
        Series(f"{side}: best of its own estimates", "nats", tuple(estimates)),
        Series(f"{side}: speed", "tokens/s", tuple(run.tokens_per_second for run in runs)),
        Series(f"{side}: start-up", "s", tuple(run.final.startup for run in runs)),
    ]
    return [series for series in found if series.values]


def passes(runs: Sequence[Run], goal: float) -> list[Point]:
    """Where those that reached the goal did."""
    return [point for run in runs if (point := run.passed(goal))]


def outcome(runs: Sequence[Run], goal: float) -> str:
    """One side in a line: how many of its runs came how far."""
    points = sorted({len(run.curve) for run in runs})
    counts = f"{points[0]}" if len(points) == 1 else f"{points[0]} to {points[-1]}"
    reached = f"{len(passes(runs, goal))} of {len(runs)} runs reached {goal:g}"
    early = f"ended early: {sum(not run.ended for run in runs)}"
    return f"{runs[0].parameters:,} parameters; points per run: {counts}; {reached}; {early}"


def share(ours: Sequence[Run], theirs: Sequence[Run], goal: float) -> str:
    """Our mean time to the goal as a share of theirs, if every run reached it: the mean of some would flatter."""
    reached = [passes(runs, goal) for runs in (ours, theirs)]
    if len(reached[0]) < len(ours) or len(reached[1]) < len(theirs):
        counts = [f"{len(points)} of {len(runs)}" for points, runs in zip(reached, (ours, theirs), strict=True)]
        return f"none, for {counts[0]} runs of ours and {counts[1]} of nanoGPT's reached it"
    mine, peer = (statistics.fmean(point.seconds for point in points) for points in reached)
    return f"{mine / peer:.3f}"


def table(series: Sequence[Series]) -> str:
    lines = [f"{'':44} {'mean':>10} {'deviation':>10} {'lowest':>10} {'highest':>10}"]
    for entry in series:
        form = ",.4f" if entry.unit == "nats" else ",.1f"
        cells = ("-" if value is None else format(value, form) for value in summary(entry.values).values())
        lines.append(f"{entry.name:44} " + " ".join(f"{cell:>10}" for cell in cells) + f"  n={len(entry.values)}")
    return "\n".join(lines)


def tell(runs: Sequence[Run], goal: float, minutes: float | None, facts: Mapping[str, Any]) -> None:
    """Print the stories, the table, and the report with its JSON."""
    sides: dict[str, list[Run]] = {}
    for run in runs:
        sides.setdefault(run.side, []).append(run)
    series: list[Series] = []
    told = dict(facts)
    print()
    for side, its_runs in sides.items():
        series += series_of(its_runs, goal)
        told[side] = outcome(its_runs, goal)
        print("\n".join(run.story(goal, minutes) for run in its_runs))
    if len(sides) == 2:
        ours, theirs = sides.values()
        told["share of nanoGPT's mean time to the goal"] = share(ours, theirs, goal)
    print(f"\n{table(series)}")
    report("The tiny-Shakespeare record", series, told)


def save_line(path: Path, run: Run, goal: float, facts: Mapping[str, Any]) -> None:
    """Append a run as a line of JSON."""
    passed = run.passed(goal)
    line = {"goal": goal, "seconds_to_goal": passed and passed.seconds, "lowest": run.lowest.loss}
    line |= {"final": run.final.loss, "startup": run.final.startup, **asdict(run), **facts}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def commit(folder: Path) -> str | None:
    """The git commit that is checked out in a folder, with `-dirty` where it was changed; None where there is none."""
    if not (folder / ".git").exists() or shutil.which("git") is None:
        return None
    command = ["git", "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
