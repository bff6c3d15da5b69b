"""A chart of a run: lines over its steps, drawn as SVG for the page and as a PNG for a README.

In the SVG, colours are left to the page's style sheet, so that a chart follows the reader's light or dark theme.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Style = Literal["training", "validation", "faint"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart, with the name and the value that stand at its right end."""

    x: Sequence[float]
    y: Sequence[float]
    style: Style
    name: str = ""
    value: str = ""

    @property
    def has_dots(self) -> bool:
        """Whether each point shows: those of a few evaluations, and a point that has no line yet."""
        return (self.style == "validation" and len(self.x) <= 60) or len(self.x) == 1

    def end_in(self, chart: "Chart") -> float:
        """Where its name stands: at its last point, or as near as the frame allows."""
        return min(max(self.y[-1], chart.low), chart.high)


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines over the steps of a run.

    Attributes:
        title: what y is, with its unit.
        lines: what to draw, the last on top.
        end: the last step, at least 1; x runs from 0 to it.
        low: y at the foot of the frame.
        high: y at its head; what is above is cut off.
        tokens_per_step: for the second row of figures under the steps; 0 for none.
        mark: step, y and two rows of words for the point to point out.
        daggers: steps of events, each with a dagger at the foot.

    """

    title: str
    lines: Sequence[Line]
    end: float
    low: float
    high: float
    tokens_per_step: float = 0.0
    mark: tuple[float, float, str, str] | None = None
    daggers: Sequence[float] = ()


def short(number: float) -> str:
    """A count in three digits from ten thousand on: 9,960,000 is 9.96M."""
    if number < 10_000:
        return f"{number:,.0f}"
    units = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
    size, letter = next((size, letter) for size, letter in units if number >= 0.9995 * size)
    return f"{number / size:#.3g}".rstrip(".") + letter


def smoothed(values: Floats) -> Floats:
    """A running mean of a running mean: each point with what lies within some 4 % of the line on either side."""
    return _running_mean(_running_mean(values))


def _running_mean(values: Floats) -> Floats:
    n, half = len(values), max(1, len(values) // 50)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    i = np.arange(n)
    # At the start, where the loss falls fast, a lopsided mean would be off: as much on both sides as there is. At the
    # end, where the loss is nearly flat, that would leave the noise of a single point: there the window just stops.
    reach = np.minimum(half, i)
    low, high = i - reach, np.minimum(i + reach, n - 1) + 1
    return np.asarray((sums[high] - sums[low]) / (high - low))


def thinned(x: Floats, y: Floats, most: int = 600) -> tuple[Floats, Floats]:
    """At most `most` points of a line, the lowest and the highest of each stretch, so that no spike is lost."""
    if len(x) <= most:
        return x, y
    kept = {0, len(x) - 1}
    for stretch in np.array_split(np.arange(len(x)), most // 2 - 1):
        kept |= {int(stretch[np.argmin(y[stretch])]), int(stretch[np.argmax(y[stretch])])}
    index = np.array(sorted(kept))
    return x[index], y[index]


def limits(lines: Sequence[Line], end: float) -> tuple[float, float]:
    """The foot and the head of the frame. The losses of the first steps, many times the rest, may be cut off."""
    values = [y for line in lines for y in line.y]
    late = [
        np.percentile(y, 99.5)
        for line in lines
        if (y := [b for a, b in zip(line.x, line.y, strict=True) if a >= 0.05 * end])
    ]
    if not values:
        return 0.0, 1.0
    low, high = min(values), float(max(late, default=max(values)))
    if max(values) - low < 1.6 * (high - low):
        high = max(values)
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def ticks(low: float, high: float, most: int, least_step: float = 0.0) -> list[tuple[float, str]]:
    """Round numbers from `low` to `high` with their words: 1, 2 or 5 times a power of ten apart, `most` + 1 at most."""
    wanted = max((high - low) / most, least_step, 1e-12)
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= wanted * (1 - 1e-9))
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    numbers = [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    return [(number, f"{number:,.{places}f}" if places <= 3 else f"{number:g}") for number in numbers]


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move the places of labels so that two are no closer than `gap`; those that clash give way by the same amount."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    moved = list(heights)
    for below, above in pairwise(order):
        clash = max(0.0, gap - (moved[above] - moved[below])) / 2
        moved[below] -= clash
        moved[above] += clash
    return moved


def svg(chart: Chart, width: int, height: int, kind: str) -> str:
    """`chart` as an SVG element of `width` x `height` CSS pixels, of the CSS class `kind`."""
    narrow, named = width < 500, [line for line in chart.lines if line.name]
    left, right, top = 44, 22 if not named else 74 if narrow else 112, 30
    bottom = 46 if chart.tokens_per_step else 26
    inner, tall = width - left - right, height - top - bottom
    foot = top + tall

    def at_x(step: float) -> float:
        return left + inner * step / chart.end

    def at_y(value: float) -> float:
        return top + tall * (chart.high - value) / (chart.high - chart.low)

    def words(x: float, y: float, what: str, style: str) -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{html.escape(what)}</text>'

    def dot(x: float, y: float, radius: float, style: str) -> str:
        return f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'

    parts = [words(0, 14, chart.title, "name")]
    for tick, label in ticks(chart.low, chart.high, 4 if height < 240 else 8):
        y = at_y(tick)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{left + inner}"/>' + words(left - 8, y + 4, label, "end"))
    for tick, label in ticks(0, chart.end, 4 if narrow else 8, least_step=1):
        x = at_x(tick)
        parts.append(f'<path class="axis" d="M{x:.1f} {foot}v4"/>' + words(x, foot + 19, label, "middle"))
        if chart.tokens_per_step:
            parts.append(words(x, foot + 36, short(tick * chart.tokens_per_step), "middle pale"))
    if chart.tokens_per_step:
        parts += [words(width, foot + 19, "steps", "end name"), words(width, foot + 36, "tokens", "end name")]
    parts.append(f'<path class="axis" d="M{left} {foot}H{left + inner}"/>')
    parts += [words(at_x(step), foot - 5, "†", "middle accent") for step in chart.daggers]

    # A nested svg cuts off what leaves the frame and, unlike a clip path, needs no id.
    box = (left - 5, top, inner + 10, tall + 5)
    parts.append('<svg x="{}" y="{}" width="{}" height="{}" viewBox="{} {} {} {}">'.format(*box, *box))
    for line in chart.lines:
        points = [(at_x(x), at_y(y)) for x, y in zip(line.x, line.y, strict=True)]
        parts.append(f'<path class="{line.style}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}"/>')
        parts += [dot(x, y, 2.6, line.style) for x, y in points] if line.has_dots else []
    parts.append("</svg>")

    for line, y in zip(named, apart([at_y(line.end_in(chart)) for line in named], 18), strict=True):
        value = "" if narrow else f'<tspan class="value" dx="5">{html.escape(line.value)}</tspan>'
        name = html.escape(line.name)
        parts.append(f'<text x="{left + inner + 11}" y="{y + 4:.1f}" class="{line.style}">{name}{value}</text>')
    if chart.mark:
        step, lowest, first, second = chart.mark
        x, y = at_x(step), at_y(lowest)
        side, shift = ("end", -8) if step > 0.5 * chart.end else ("start", 8)
        parts += [f'<path class="lead" d="M{x:.1f} {top}V{y - 6:.1f}"/>', dot(x, y, 5.5, "ring")]
        parts.append(words(x + shift, top + 12, first, f"{side} accent"))
        parts.append(words(x + shift, top + 29, second, f"{side} pale"))
    about = f'class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(chart.title)}"'
    return f"<svg {about}>{''.join(parts)}</svg>"


INK, PALE, RULE, PAPER, ACCENT, BLUE = "#25211b", "#746b5d", "#e4ddd0", "#fcfaf5", "#9c2f1f", "#3f6486"
LOOKS: dict[Style, dict[str, Any]] = {
    "faint": {"color": BLUE, "lw": 0.6, "alpha": 0.35},
    "training": {"color": BLUE, "lw": 1.4},
    "validation": {"color": ACCENT, "lw": 1.4},
}


def draw(chart: Chart, path: Path) -> None:
    """`chart` as a PNG of 1600 x 900 pixels, twice a README's width. STIX is the serif that matplotlib brings along."""
    from matplotlib.figure import Figure  # takes longer to import than to draw with, so not before the first report

    picture = Figure(figsize=(8, 4.5), dpi=200, facecolor=PAPER)
    frame = picture.add_axes((0.065, 0.135, 0.775, 0.765), facecolor="none")
    # A little more than the steps, so that no dot at the end is cut in half.
    frame.set(xlim=(0, 1.006 * chart.end), ylim=(chart.low, chart.high), xticks=[], yticks=[])
    frame.spines[["top", "right", "left"]].set_visible(False)
    frame.spines["bottom"].set_color(PALE)

    def words(text: str, x: float, y: float, right: float, up: float, color: str = PALE, **kind: Any) -> None:
        """Text at data coordinates, shifted by points."""
        look: dict[str, Any] = {"family": "STIXGeneral", "size": 11.5, "ha": "center", "va": "center", **kind}
        where: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": False}
        frame.annotate(text, (x, y), (right, up), color=color, parse_math=False, **where, **look)

    foot, end = chart.low, chart.end
    words(chart.title, 0, chart.high, -33, 18, INK, ha="left", style="italic", size=12.5)
    for tick, label in ticks(foot, chart.high, 8):
        frame.axhline(tick, color=RULE, lw=0.7, zorder=0)
        words(label, 0, tick, -8, 0, ha="right")
    for tick, label in ticks(0, end, 8, least_step=1):
        frame.plot([tick], [foot], "|", color=PALE, ms=5, mew=0.7, clip_on=False)
        words(label, tick, foot, 0, -13, INK)
        if chart.tokens_per_step:
            words(short(tick * chart.tokens_per_step), tick, foot, 0, -28)
    if chart.tokens_per_step:
        words("steps", end, foot, 84, -13, INK, ha="right", style="italic")
        words("tokens", end, foot, 84, -28, ha="right", style="italic")
    for step in chart.daggers:
        words("†", step, foot, 0, 8, ACCENT)

    for line in chart.lines:
        frame.plot(
            line.x, line.y, solid_joinstyle="round", marker="o" if line.has_dots else "", ms=4, **LOOKS[line.style]
        )
    named = [line for line in chart.lines if line.name]
    per_point = (chart.high - foot) / (0.765 * 4.5 * 72)  # of y, on paper
    for line, y in zip(named, apart([line.end_in(chart) for line in named], 15 * per_point), strict=True):
        words(f"{line.name} {line.value}", end, y, 9, 0, LOOKS[line.style]["color"], ha="left")
    if chart.mark:
        step, lowest, first, second = chart.mark
        frame.plot([step], [lowest], "o", mfc="none", mec=ACCENT, ms=9, mew=1, clip_on=False)
        frame.vlines(step, lowest, chart.high, color=ACCENT, lw=0.7, linestyle=(0, (1, 3)))
        shift, side = (-7, "right") if step > 0.5 * end else (7, "left")
        plain = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.5}  # no grid line strikes the words out
        words(first, step, chart.high, shift, -6, ACCENT, ha=side, bbox=plain)
        words(second, step, chart.high, shift, -21, ha=side, bbox=plain)
    picture.savefig(path, format="png", metadata={"Software": "inkhorn"})
