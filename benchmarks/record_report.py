"""Results of record.py: the loss curve of each run, statistics over the seeds, and the report as text and JSON."""

import shutil
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from common import Series, report
from scipy.stats import ttest_1samp

from inkhorn.utils.jsonl import append_jsonl, read_jsonl

CLAIM_P = 0.01
SLOW_STEP_FACTOR = 5  # a step that takes more than this many times the median includes compilation


@dataclass(frozen=True)
class Point:
    """One evaluation during training.

    Attributes:
        step: optimizer steps completed.
        seconds: training time so far, evaluation excluded.
        loss: loss in nats over the full validation split.
        startup: the part of `seconds` spent compiling.

    """

    step: int
    seconds: float
    loss: float
    startup: float

    def __str__(self) -> str:
        return f"step {self.step:,}: loss {self.loss:.4f} after {self.seconds:,.1f} s"


@dataclass(frozen=True, kw_only=True)
class Run:
    """The result of one training run.

    Attributes:
        side: "inkhorn" or "nanoGPT".
        steps: steps of the full recipe; a run with a time limit may complete fewer.
        own_estimate: nanoGPT's own lowest validation loss, estimated on random batches.

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
    def completed(self) -> bool:
        """Whether the run reached its last step."""
        return self.final.step >= self.steps

    def reached(self, goal: float) -> Point | None:
        """The first point whose loss is at or below the goal."""
        return next((point for point in self.curve if point.loss <= goal), None)

    def describe(self, goal: float, minutes: float | None) -> str:
        """Summarize the run in one line; `minutes` is its time limit."""
        first, last, rate = self.reached(goal), self.final, f"{self.tokens_per_second:,.0f} tokens/s"
        complete = self.completed or minutes is None
        text = f"{self.side}, seed {self.seed}: {goal:g} "
        if first is not None:
            text += f"reached after {first.seconds:,.1f} s, at step {first.step:,}"
        else:
            text += f"not reached in {last.step:,} steps" if complete else f"not reached in {minutes:g} min"
        if complete:
            low = f"lowest {self.lowest.loss:.4f} at step {self.lowest.step:,}, final {last.loss:.4f}"
            return f"{text}; {low} after {last.seconds:,.1f} s ({rate}, {last.startup:.1f} s start-up)"
        total = last.startup + self.steps * self.tokens_per_step / self.tokens_per_second
        tokens = f"{last.step * self.tokens_per_step:,} tokens"
        return (
            f"{text}: loss {last.loss:.4f} after {tokens}, {rate}, "
            f"about {hours(total)} estimated for all {self.steps:,} steps"
        )


def startup(seconds: Sequence[float]) -> float:
    """Total time above the median of the steps slower than SLOW_STEP_FACTOR times the median, anywhere in the run."""
    median = statistics.median(seconds) if seconds else 0.0
    return sum((step - median for step in seconds if step > SLOW_STEP_FACTOR * median), 0.0)


def hours(seconds: float) -> str:
    """Format a time in hours, with two significant digits below ten."""
    number = seconds / 3600
    return f"{number:,.0f} hours" if number >= 10 else f"{number:.2g} hours"


def summary(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, sample standard deviation (None for a single value), minimum and maximum."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "deviation": deviation, "lowest": min(values), "highest": max(values)}


def series_of(runs: Sequence[Run], goal: float) -> list[Series]:
    """The measurements of one side's runs; times to the goal include only the runs that reached it."""
    side, reached = runs[0].side, goal_points(runs, goal)
    estimates = [run.own_estimate for run in runs if run.own_estimate is not None]
    found = [
        Series(f"{side}: seconds to {goal:g}", "s", tuple(point.seconds for point in reached)),
        Series(f"{side}: the same without start-up", "s", tuple(point.seconds - point.startup for point in reached)),
        Series(f"{side}: lowest loss", "nats", tuple(run.lowest.loss for run in runs)),
        Series(f"{side}: final loss", "nats", tuple(run.final.loss for run in runs)),
        Series(f"{side}: best of its own estimates", "nats", tuple(estimates)),
        Series(f"{side}: speed", "tokens/s", tuple(run.tokens_per_second for run in runs)),
        Series(f"{side}: start-up", "s", tuple(run.final.startup for run in runs)),
    ]
    return [series for series in found if series.values]


def goal_points(runs: Sequence[Run], goal: float) -> list[Point]:
    """The points at which the runs that reached the goal first did so."""
    return [point for run in runs if (point := run.reached(goal))]


def outcome(runs: Sequence[Run], goal: float) -> str:
    """Summarize one side in a line: how many runs reached the goal or stopped early."""
    points = sorted({len(run.curve) for run in runs})
    counts = f"{points[0]}" if len(points) == 1 else f"{points[0]} to {points[-1]}"
    reached = f"{len(goal_points(runs, goal))} of {len(runs)} runs reached {goal:g}"
    early = f"stopped early: {sum(not run.completed for run in runs)}"
    return f"{runs[0].parameters:,} parameters; points per run: {counts}; {reached}; {early}"


def time_ratio(ours: Sequence[Run], theirs: Sequence[Run], goal: float) -> str:
    """Our mean time to the goal divided by theirs.

    Given only if every run reached the goal: a mean over the successful runs alone would be biased.
    """
    reached = [goal_points(runs, goal) for runs in (ours, theirs)]
    if len(reached[0]) < len(ours) or len(reached[1]) < len(theirs):
        counts = [f"{len(points)} of {len(runs)}" for points, runs in zip(reached, (ours, theirs), strict=True)]
        return f"none: only {counts[0]} inkhorn runs and {counts[1]} nanoGPT runs reached the goal"
    mine, peer = (statistics.fmean(point.seconds for point in points) for points in reached)
    return f"{mine / peer:.3f}"


def claim_holds(runs: Sequence[Run], limit: float) -> str:
    """Whether the mean final loss of the runs may be said to be below `limit`: a one-sided t-test over the seeds."""
    steps = {run.final.step for run in runs}
    if len(steps) > 1 or not runs[0].completed:
        return "none: the runs ended at different steps, or early"
    p = float(ttest_1samp([run.final.loss for run in runs], limit, alternative="less").pvalue)
    holds = "holds" if p < CLAIM_P else "does not hold"
    return f"mean final loss below {limit:g} {holds}: p = {p:.2g}, n = {len(runs)}, at step {runs[0].final.step:,}"


def table(series: Sequence[Series]) -> str:
    lines = [f"{'':44} {'mean':>10} {'deviation':>10} {'lowest':>10} {'highest':>10}"]
    for entry in series:
        form = ",.4f" if entry.unit == "nats" else ",.1f"
        cells = ("-" if value is None else format(value, form) for value in summary(entry.values).values())
        lines.append(f"{entry.name:44} " + " ".join(f"{cell:>10}" for cell in cells) + f"  n={len(entry.values)}")
    return "\n".join(lines)


def print_report(
    runs: Sequence[Run], goal: float, minutes: float | None, facts: Mapping[str, Any], claim: float | None = None
) -> None:
    """Print a summary of each run, the table of statistics, and the report with its JSON line."""
    sides: dict[str, list[Run]] = {}
    for run in runs:
        sides.setdefault(run.side, []).append(run)
    series: list[Series] = []
    report_facts = dict(facts)
    print()
    for side, side_runs in sides.items():
        series += series_of(side_runs, goal)
        report_facts[side] = outcome(side_runs, goal)
        if claim is not None:
            report_facts[f"{side}: claim"] = claim_holds(side_runs, claim)
        print("\n".join(run.describe(goal, minutes) for run in side_runs))
    if len(sides) == 2:
        ours, theirs = sides.values()
        report_facts["share of nanoGPT's mean time to the goal"] = time_ratio(ours, theirs, goal)
    print(f"\n{table(series)}")
    report("The tiny-Shakespeare record", series, report_facts)


def save_line(path: Path, run: Run, goal: float, facts: Mapping[str, Any]) -> None:
    """Append a run to a JSON Lines file."""
    point = run.reached(goal)
    line = {"goal": goal, "seconds_to_goal": point and point.seconds, "lowest": run.lowest.loss}
    line |= {"final": run.final.loss, "startup": run.final.startup, **asdict(run), **facts}
    append_jsonl(path, line)


def saved_runs(path: Path | None, settings: Mapping[str, Any]) -> dict[tuple[str, int], Run]:
    """The runs that save_line() wrote with these settings among its facts, by side and seed."""
    found: dict[tuple[str, int], Run] = {}
    for line in read_jsonl(path) if path is not None else []:
        if all(line.get(name) == value for name, value in settings.items()):
            facts = {field.name: line[field.name] for field in fields(Run)}
            facts |= {"curve": tuple(Point(**point) for point in line["curve"]), "notes": tuple(line["notes"])}
            found[line["side"], line["seed"]] = Run(**facts)
    return found


def commit(folder: Path) -> str | None:
    """The git commit checked out in a folder, with `-dirty` if files changed; None without a repository or git."""
    if not (folder / ".git").exists() or shutil.which("git") is None:
        return None
    command = ["git", "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
