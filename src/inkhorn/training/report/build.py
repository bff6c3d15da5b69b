"""The report of a run: `loss.png` for a README and `report.html` to read, made from what training wrote down.

It is made again at every evaluation, so it is quick, takes a run that has hardly begun, and replaces its files whole.
"""

import json
import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inkhorn.checkpoint.resolve import spoken_name
from inkhorn.errors import InkhornError
from inkhorn.training.report.chart import Chart, Floats, Line, Style, draw, limits, short, smoothed, thinned
from inkhorn.training.report.html import (
    columns,
    command,
    duration,
    entries,
    figure,
    figures,
    page,
    paragraph,
    said,
    sample,
    section,
    table,
)
from inkhorn.training.report.sounds import telling
from inkhorn.utils.records import read_lines

Record = dict[str, Any]

PLATEAU = 0.005
"""a rise of the validation loss below this, in nats per token, is not called over-fitting"""
LARGEST_CHARACTER_VOCABULARY = 1000
"""in tokens; above this a token is taken to be more than a character, and bits are given per token"""


@dataclass(frozen=True)
class Run:
    """What a run's folder says about it.

    Attributes:
        info: run.json.
        training: lines of metrics.jsonl with a training loss, by rising step.
        evaluations: those with a validation loss, by rising step.
        events: those with an event, as they came.
        samples: lines of samples.jsonl, by rising step.

    """

    info: Record
    training: list[Record]
    evaluations: list[Record]
    events: list[Record]
    samples: list[Record]

    def part(self, key: str) -> Record:
        """A table of run.json, empty if it is not there."""
        value = self.info.get(key)
        return value if isinstance(value, dict) else {}

    @property
    def last(self) -> Record:
        """The newest line of either kind; step 0 before the first."""
        return max([*self.training, *self.evaluations], key=lambda record: record["step"], default={"step": 0})


def write_report(out: Path) -> None:
    """Write `loss.png` and `report.html` into the run's folder `out`, from its metrics.jsonl, run.json, samples.jsonl.

    Missing and half-written files are taken as they are. Raises InkhornError, and nothing else, if it cannot be done.
    """
    try:
        run = read_run(out)
        chart = loss_chart(run)
        _replace(out / "loss.png", lambda path: draw(chart, path))
        # A relative path is what the user typed, so the commands can repeat it; an absolute one tells too much.
        text = _compose(run, chart, out.resolve().name if out.is_absolute() or not out.name else out.as_posix())
        _replace(out / "report.html", lambda path: path.write_bytes(text.encode("utf-8", "replace")))
    except Exception as error:  # hours of training must not end because a page about them cannot be made
        raise InkhornError(f"cannot write the report in {out}: {type(error).__name__}: {error}") from error


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in its place at once."""
    partial = path.with_name(path.name + ".tmp")
    try:
        write(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_run(out: Path) -> Run:
    """Read a run's folder; what is missing or cut off counts as not yet written."""
    metrics = read_lines(out / "metrics.jsonl")
    try:
        info = json.loads((out / "run.json").read_bytes())
    except (FileNotFoundError, ValueError):
        info = {}
    return Run(
        info=info if isinstance(info, dict) else {},
        training=_by_step([line for line in metrics if math.isfinite(_number(line, "train/loss"))]),
        evaluations=_by_step([line for line in metrics if math.isfinite(_number(line, "val/loss"))]),
        events=[line for line in metrics if "event" in line],
        samples=_by_step([line for line in read_lines(out / "samples.jsonl") if isinstance(line.get("text"), str)]),
    )


def _by_step(lines: Sequence[Record]) -> list[Record]:
    """In order of the steps; of two lines at a step the later, which a resumed run wrote."""
    return [line for _, line in sorted({line["step"]: line for line in lines}.items())]


def _number(record: Record, key: str) -> float:
    """A measured value; nan where there is none, null, or what is no finite number."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return math.nan
    return float(value)


def _series(records: Sequence[Record], key: str) -> tuple[Floats, Floats]:
    """Steps and values of `key`, where it has one."""
    pairs = [(record["step"], value) for record in records if math.isfinite(value := _number(record, key))]
    both = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _line(x: Floats, y: Floats, style: Style, name: str = "", value: str = "") -> Line:
    x, y = thinned(x, y)
    return Line(x=x.tolist(), y=y.tolist(), style=style, name=name, value=value)


def loss_chart(run: Run) -> Chart:
    """Training and validation loss over the steps, with the best validation loss pointed out."""
    x, y = _series(run.training, "train/loss")
    smooth = smoothed(y)
    val_x, val_y = _series(run.evaluations, "val/loss")
    lines = []
    if len(x):
        lines.append(_line(x, y, "faint"))
        lines.append(_line(x, smooth, "training", "training", f"{smooth[-1]:.3f}"))
    mark = None
    if len(val_x):
        lines.append(_line(val_x, val_y, "validation", "validation", f"{val_y[-1]:.3f}"))
        best = int(np.argmin(val_y))
        mark = (val_x[best], val_y[best], f"best validation {val_y[best]:.3f}", f"at step {val_x[best]:,.0f}")
    end = max(1, run.last["step"])
    low, high = limits(lines, end)
    return Chart(
        title="Loss, nats per token",
        lines=lines,
        end=end,
        low=low,
        high=high,
        tokens_per_step=0.0 if math.isnan(tokens := _number(run.last, "tokens")) else tokens / end,
        mark=mark,
        daggers=[event["step"] for event in run.events if event["step"] <= end],
    )


def side_chart(run: Run, key: str, title: str) -> Chart | None:
    """One measure of the training lines over the steps; None if it was never measured."""
    x, y = _series(run.training, key)
    if not len(x):
        return None
    end = max(1, run.last["step"])
    if key == "train/lr":  # nothing to smooth: it is as it was set
        lines = [_line(x, y, "training")]
    else:
        lines = [_line(x, y, "faint"), _line(x, smoothed(y), "training")]
    return Chart(title=title, lines=lines, end=end, low=0.0, high=max(limits(lines, end)[1], 1e-12))


def verdict(run: Run) -> str:
    """What training and validation loss say of each other, in a sentence with its numbers."""
    steps, losses = _series(run.evaluations, "val/loss")
    x, y = _series(run.training, "train/loss")
    if not len(steps):
        return "There has been no evaluation yet, so nothing is known of text that the model has not seen."
    best, last = int(np.argmin(losses)), len(losses) - 1
    since, here = f"step {steps[best]:,.0f}", f"step {steps[last]:,.0f}"
    # Training losses are read off the smoothed line, so that the sentence and the chart agree.
    then, now = np.interp(steps[[best, last]], x, smoothed(y)) if len(x) else (math.nan, math.nan)
    gap = losses[last] - now
    lies = f"it lies {abs(gap):.3f} {'above' if gap >= 0 else 'below'} the training loss of {now:.3f}"
    train = run.part("train")
    late = _number(train, "dropout_from") * _number(train, "steps")  # nan where it is not known
    if gap < 0 and _number(train, "dropout") > 0 and not steps[last] <= late:
        lies += ", which is measured with dropout on"
    lies = "the training loss was not recorded" if math.isnan(gap) else lies
    if last == 0:
        return f"One evaluation so far: at {here} the validation loss is {losses[0]:.3f}; {lies}."
    if best == last:
        other = int(np.argmin(losses[:-1]))
        below = f"{losses[other] - losses[last]:.3f} below the best before it, at step {steps[other]:,.0f}"
        return (
            f"No over-fitting up to {here}: the validation loss of {losses[last]:.3f} is the lowest, {below}; {lies}."
        )
    rise = f"{losses[last] - losses[best]:.3f} (from {losses[best]:.3f} to {losses[last]:.3f})"
    if math.isnan(gap):
        return f"Since {since} validation rose by {rise}; {lies}."
    fall = f"training fell by {then - now:.3f} (from {then:.3f} to {now:.3f})"
    if now >= then:
        fall = f"training did not fall either (from {then:.3f} to {now:.3f})"
    if losses[last] - losses[best] < PLATEAU:
        return f"A plateau since {since}: validation rose by only {rise} while {fall}."
    if now < then:
        grew = f"the gap between them went from {losses[best] - then:.3f} to {gap:.3f}"
        return f"Over-fitting since {since}: validation rose by {rise} while {fall}; {grew}."
    return f"Worse since {since}, though not from over-fitting: validation rose by {rise}, and {fall}."


def headline(run: Run) -> list[tuple[str, str]]:
    """The figures of the whole run: (value, what it is)."""
    best: Record = min(run.evaluations, key=lambda line: _number(line, "val/loss"), default={})
    loss, seen, text = _number(best, "val/loss"), _number(run.last, "tokens"), _number(run.info, "train_tokens")
    step, planned = run.last["step"], _number(run.part("train"), "steps")
    token = "token" if _number(run.part("model"), "vocab_size") > LARGEST_CHARACTER_VOCABULARY else "character"
    speed, share = (_median(_series(run.training, key)[1]) for key in ("train/tokens_per_sec", "train/mfu"))
    return [
        (said(loss, "{:.3f}".format), "best validation loss, nats per token"),
        (said(loss / math.log(2), "{:.3f}".format), f"bits per {token}"),
        (f"{step:,}", f"steps of {planned:,.0f}" if planned > step else "steps"),
        (said(_number(run.last, "seconds"), duration), "of training"),
        (said(seen, short), f"tokens, {seen / text:.1f} × the text" if seen > 0 and text > 0 else "tokens seen"),
        (said(speed, "{:,.0f}".format), "tokens per second"),
        (said(100 * share, "{:.0f} %".format), "of the machine’s best (MFU)"),
        (said(_number(run.info, "num_parameters"), short), "parameters"),
    ]


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else math.nan


def _caption(chart: Chart) -> str:
    words = "Fine line: training loss as logged; heavier: its running mean. Dots: the loss over all validation text."
    first = chart.lines[0].y[0]
    words += f" Training began at {first:.2f}, above the frame." if first > chart.high else ""
    return words + (" †: an event, told below." if chart.daggers else "")


def _machine(run: Run) -> Record:
    """Where it ran, and why so: a reason reads "choice: why"."""
    rows = {"machine": run.info.get("machine")} | run.part("versions")
    if (peak := _number(run.info, "peak_flops")) > 0:
        rows["best matrix product"] = f"{peak / 1e9:,.0f} GFLOP/s"
    reasons = run.info.get("hardware")
    return rows | dict(str(reason).partition(": ")[::2] for reason in (reasons if isinstance(reasons, list) else []))


def _compose(run: Run, chart: Chart, folder: str) -> str:
    """The page; `folder` is how the commands at its foot name the run."""
    name, corpus, train = str(run.info.get("name", folder)), str(run.info.get("corpus", "")), run.part("train")
    parameters = _number(run.info, "num_parameters")
    lede = f"A model of {parameters:,.0f} parameters" if parameters > 0 else "A model"
    lede += f", trained on {corpus}" if corpus else ""
    shown = [line["step"] for line in telling(run.samples)]
    samples = []
    for line in run.samples:
        loss = said(_number(line, "val/loss"), "{:.3f}".format)
        samples.append(sample(f"loss {loss}", f"step {line['step']:,}", line["text"], line["step"] in shown))
    same = paragraph("One prompt, an empty one, and one seed: nothing changes from text to text but the model.")
    sides = [side_chart(run, "train/lr", "Learning rate"), side_chart(run, "train/grad_norm", "Length of the gradient")]
    sizes = {key: said(_number(run.info, key), "{:,.0f}".format) for key in ("train_tokens", "val_tokens")}
    model = str(run.info.get("begin_from") or "")
    begun = {"weights begun from": spoken_name(model)} if model else {}
    commands = [f'inkhorn generate --model {shlex.quote(folder)} "{"ROMEO:" if "shakespeare" in corpus else "The"}"']
    if _number(train, "steps") > run.last["step"]:
        commands.append(f"inkhorn train {shlex.quote(name)} --out {shlex.quote(folder)} --resume")
    body = [
        figures(headline(run)),
        figure(chart, _caption(chart)) if chart.lines else paragraph("Nothing has been measured yet."),
        paragraph(verdict(run)),
        section("What each loss sounds like", *([same] if samples else []), *samples),
        section("Rate and gradient", columns(*[figure(side, small=True) for side in sides if side])),
        section("Events", entries((f"† step {event['step']:,}", str(event["event"])) for event in run.events)),
        section(
            "How it was made",
            columns(
                table("Text", {"corpus": corpus or None} | sizes | begun) + table("Model", run.part("model")),
                table("Training", train),
            ),
        ),
        section("Colophon", table("", _machine(run))),
        section("To go on", command(commands)),
    ]
    return page(name, lede, "\n".join(body))
