"""Charts of a run, drawn by matplotlib: as SVG for the HTML page and as PNG for a README.

matplotlib is imported on first use: importing it takes longer than drawing.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from inkhorn.training.report.formatting import format_count, format_loss
from inkhorn.training.report.run_log import Floats, RunLog, number, series, smooth

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = {
    "ink": "#25211b",
    "muted": "#746b5d",
    "rule": "#e4ddd0",
    "paper": "#fcfaf5",
    "accent": "#9c2f1f",
    "blue": "#3f6486",
}
"""Colors of the PNG. In the SVG each is replaced by the CSS variable of its name, which has a dark variant."""

LINE_STYLES: dict[str, dict[str, Any]] = {
    "raw": {"color": COLORS["blue"], "linewidth": 0.7, "alpha": 0.45},
    "training": {"color": COLORS["blue"]},
    "validation": {"color": COLORS["accent"]},
}

_MUTED = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
_OFF = ("axes.spines.left", "axes.spines.right", "axes.spines.top", "legend.frameon", "ytick.left")
RC_PARAMS: dict[str, Any] = {
    **dict.fromkeys(_MUTED, COLORS["muted"]),
    **dict.fromkeys(_OFF, False),
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.titlecolor": COLORS["ink"],
    "axes.titlelocation": "left",
    "axes.titlesize": 13,
    "figure.facecolor": COLORS["paper"],
    "font.size": 12,
    "grid.color": COLORS["rule"],
    "grid.linewidth": 0.7,
    "legend.labelcolor": "linecolor",
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "svg.fonttype": "none",
    "svg.hashsalt": "inkhorn",
}


@dataclass(frozen=True)
class Line:
    """One line of a chart; a label puts it into the legend."""

    x: Floats
    y: Floats
    style: Literal["raw", "training", "validation"]
    label: str = ""

    @property
    def has_markers(self) -> bool:
        """Whether each point is marked: those of a few evaluations, and a single point."""
        return (self.style == "validation" and len(self.x) <= 60) or len(self.x) == 1


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines over the steps of a run."""

    title: str  # the metric and its unit
    lines: Sequence[Line]  # the last one on top
    end: float  # the last step, at least 1; x runs from 0 to it
    low: float  # the lower limit of y
    high: float  # the upper limit of y; larger values are cut off
    x_label: str = ""  # the label of the x axis
    best: tuple[float, float] | None = None  # step and loss of the best evaluation
    event_marks: Sequence[float] = ()  # the steps of events


def loss_chart(run: RunLog) -> Chart:
    """Training and validation loss over the steps, with the best evaluation marked."""
    lines, best = [], None
    x, y = series(run.training, "train/loss")
    if len(x):
        smoothed = smooth(y)
        lines += [_line(x, y, "raw"), _line(x, smoothed, "training", f"training {format_loss(smoothed[-1])}")]
    x, y = series(run.evaluations, "val/loss")
    if len(x):
        lines.append(_line(x, y, "validation", f"validation {format_loss(y[-1])}"))
        best = (float(x[np.argmin(y)]), float(np.min(y)))
    end = max(1, run.last["step"])
    low, high = limits(lines, end)
    tokens = number(run.last, "tokens")
    return Chart(
        title="Loss, nats per token",
        lines=lines,
        end=end,
        low=low,
        high=high,
        x_label=f"steps of {format_count(tokens / end)} tokens" if tokens > 0 else "steps",
        best=best,
        event_marks=[event["step"] for event in run.events if event["step"] <= end],
    )


def metric_chart(run: RunLog, key: str, title: str) -> Chart | None:
    """A training metric over the steps; None if it was never recorded."""
    x, y = series(run.training, key)
    if not len(x):
        return None
    end = max(1, run.last["step"])
    lines = [_line(x, y, "training")]  # the learning rate has no noise to smooth
    if key != "train/lr":
        lines = [_line(x, y, "raw"), _line(x, smooth(y), "training")]
    return Chart(title=title, lines=lines, end=end, low=0.0, high=max(limits(lines, end)[1], 1e-12))


def _line(x: Floats, y: Floats, style: Literal["raw", "training", "validation"], label: str = "") -> Line:
    return Line(*downsample(x, y), style, label)


def downsample(x: Floats, y: Floats, max_points: int = 600) -> tuple[Floats, Floats]:
    """At most `max_points` points of a line: the minimum and maximum of each stretch, so that no spike is lost."""
    if len(x) <= max_points:
        return x, y
    kept = {0, len(x) - 1}
    for stretch in np.array_split(np.arange(len(x)), max_points // 2 - 1):
        kept |= {int(stretch[np.argmin(y[stretch])]), int(stretch[np.argmax(y[stretch])])}
    index = np.array(sorted(kept))
    return x[index], y[index]


def limits(lines: Sequence[Line], end: float) -> tuple[float, float]:
    """Limits of the y axis. The losses of the first steps are cut off if they are far above the rest."""
    if not lines:
        return 0.0, 1.0
    values = np.concatenate([line.y for line in lines])
    late = [np.percentile(y, 99.5) for line in lines if len(y := line.y[line.x >= 0.05 * end])]
    low, high = float(values.min()), float(max(late, default=values.max()))
    if values.max() - low < 1.6 * (high - low):
        high = float(values.max())
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


@contextmanager
def _drawn(chart: Chart, width: float, height: float, font: str) -> Iterator[Any]:
    """The chart as a matplotlib figure of `width` x `height` points, to be saved inside the context."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    with matplotlib.rc_context(RC_PARAMS | {"font.family": font}):
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        axes = figure.add_subplot(xlim=(0, 1.006 * chart.end), ylim=(chart.low, chart.high), xlabel=chart.x_label)
        narrow, labeled = width < 500, any(line.label for line in chart.lines)
        axes.set_title(chart.title, style="italic", pad=24 if narrow and labeled else 6)  # the legend needs a row
        axes.xaxis.set_major_locator(MaxNLocator(4 if narrow else 8, steps=[1, 2, 5, 10], integer=True))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.yaxis.set_major_locator(MaxNLocator(4 if height < 240 else 8, steps=[1, 2, 5, 10]))
        for line in chart.lines:
            marker = "o" if line.has_markers else None
            axes.plot(line.x, line.y, marker=marker, label=line.label or None, **LINE_STYLES[line.style])
        if labeled:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2, ncols=2, handlelength=1.2)
        for step in chart.event_marks:
            axes.annotate("†", (step, 0), xycoords=("data", "axes fraction"), color=COLORS["accent"], ha="center")
        if chart.best and chart.best[1] <= chart.high:
            _mark_best(axes, *chart.best, left=chart.best[0] > 0.5 * chart.end)
        yield figure


def _mark_best(axes: Any, step: float, loss: float, *, left: bool) -> None:
    color = COLORS["accent"]
    axes.plot([step], [loss], "o", mfc="none", mec=color, ms=9, clip_on=False, gid="best")
    axes.vlines(step, loss, axes.get_ylim()[1], color=color, linewidth=0.7, linestyle=(0, (1, 3)))
    axes.annotate(
        f"best validation {format_loss(loss)}\nat step {step:,.0f}",
        (step, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-7 if left else 7, -4),
        textcoords="offset points",
        color=color,
        ha="right" if left else "left",
        va="top",
        bbox={"facecolor": COLORS["paper"], "edgecolor": "none", "pad": 1.5},
    )


def to_svg(chart: Chart, width: float, height: float) -> str:
    """The chart as an SVG element whose colors are CSS variables. The output is deterministic."""
    # The page sets its own serif. DejaVu, which comes with matplotlib, is the widest, so that the others fit too.
    with _drawn(chart, width, height, "DejaVu Serif") as figure:
        figure.patch.set_visible(False)
        svg = _svg_element(figure)
    svg = re.sub(r"<svg [^>]*>", f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{chart.title}">', svg)
    svg = re.sub(r' id="(?:\w+_\d+|best)"', lambda m: ' class="best"' if "best" in m[0] else "", svg)
    svg = re.sub(r' d="[^"]+"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), svg)
    for name, color in COLORS.items():
        svg = svg.replace(color, f"var(--{name})")
    return svg


def _svg_element(figure: "Figure") -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]  # without the XML declaration and the doctype


def save_svg(figure: "Figure", path: Path) -> None:
    """Write a figure as an SVG file, without metadata and without addresses of other documents."""
    svg = _svg_element(figure).replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "").replace("xlink:href", "href")
    path.write_text(svg, encoding="utf-8")


def save_png(chart: Chart, path: Path) -> None:
    """Write the chart as a PNG of 1600 x 900 pixels, twice the width of a README."""
    with _drawn(chart, 720, 405, "STIXGeneral") as figure:
        figure.savefig(path, format="png", dpi=160, metadata={"Software": "inkhorn"})
