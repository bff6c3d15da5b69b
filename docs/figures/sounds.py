"""Draw docs/sounds.svg: what a model writes at each loss, from its first steps to its last.

    python docs/figures/sounds.py --run FOLDER [--out docs/sounds.svg]

Reads what a training run leaves in its folder: samples.jsonl, metrics.jsonl and run.json. For some losses the nearest
sample is shown, each at most once, and the loss that is printed is the sample's own; a run that never had such losses
gives fewer rows. Nothing of a sample is left out but what comes after its first rows.
"""

import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from sheet import SERIF, box, path, phrase, save, sheet, style, text, visible

from inkhorn.errors import UsageError
from inkhorn.training.log_writer import read_log
from inkhorn.training.report.build import MAX_CHARACTER_VOCABULARY
from inkhorn.training.report.chart import downsample
from inkhorn.training.report.run_log import Floats, smooth
from inkhorn.training.report.samples import representative_samples

ROWS, MEASURE = 7, 29.5  # of a sample, and a row's width in ems
INDENT = 1.5  # ems, of a row that goes on with a line
SPEAKER = re.compile(r"[A-Z][\w'’ .-]{0,30}:")
NUMBERS = ("no", "one moment", "two moments", "three moments", "four moments", "five moments", "six moments")

WIDTH = 880
LEFT, RIGHT, TEXT = 62.0, 212.0, 290.0  # the chart's two sides, and where the text begins
TOP, FOOT = 168.0, 52.0
HEADING, LINE, GAP, AFTER = 36, 24, 12, 44  # heights: a row's heading, a line, an empty one, the space below a row


@dataclass
class Args:
    """Which run to draw."""

    run: Path
    """the run's folder"""
    out: Path = Path(__file__).parents[1] / "sounds.svg"
    """where to write the figure"""


@dataclass(frozen=True)
class Sample:
    """A text that a model wrote, with its step and its loss on text that it had not seen."""

    step: int
    loss: float
    text: str


@dataclass(frozen=True)
class Curve:
    """A loss over the steps."""

    steps: Floats
    losses: Floats


def ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Round numbers from `low` to `high` with labels: 1, 2 or 5 times a power of ten apart, `most` + 1 at most."""
    wanted = max((high - low) / most, 1e-12)
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= wanted * (1 - 1e-9))
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    numbers = [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    return [(number, f"{number:,.{places}f}") for number in numbers]


def read_samples(run: Path) -> list[Sample]:
    """The samples of a run that have a text and a loss, by step; of two at a step the later."""
    found = {}
    for line in read_log(run / "samples.jsonl"):
        loss = finite(line, "val/loss")
        if loss is not None and isinstance(line.get("text"), str) and line["text"].strip():
            found[line["step"]] = Sample(line["step"], loss, line["text"])
    return [sample for _, sample in sorted(found.items())]


def read_curve(run: Path, key: str) -> Curve:
    """The points of metrics.jsonl that have `key`."""
    points = {line["step"]: loss for line in read_log(run / "metrics.jsonl") if (loss := finite(line, key)) is not None}
    both = np.array(sorted(points.items()), dtype=np.float64).reshape(-1, 2)
    return Curve(both[:, 0], both[:, 1])


def finite(line: dict[str, Any], key: str) -> float | None:
    """A measured value; None where there is none that is finite."""
    value = line.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def choose(samples: Sequence[Sample]) -> list[Sample]:
    """Those that tell the story, as the run's report has them."""
    by_step = {sample.step: sample for sample in samples}
    return [
        by_step[line["step"]]
        for line in representative_samples([{"step": s.step, "val/loss": s.loss} for s in samples])
    ]


def set_in_rows(words: str, rows: int = ROWS) -> list[tuple[str, str]]:
    """The beginning of a sample as rows with their kinds: "speaker", "empty", "more" for what did not fit above, or "".

    Line breaks stay where they were; of several empty lines one is left. What is cut off is told by an ellipsis.
    """
    found: list[tuple[str, str]] = []
    for line in visible(words.strip("\n")).split("\n"):
        begins = not found or found[-1][1] == "empty"  # a verse may end in a colon, too
        kind = "speaker" if begins and SPEAKER.fullmatch(line) else ""
        if line.strip():
            found += [(part, kind if i == 0 else "more") for i, part in enumerate(broken(line))]
        elif found and found[-1][1] != "empty":
            found.append(("", "empty"))
    places = [i for i, (_, kind) in enumerate(found) if kind != "empty"]
    if len(places) <= rows:
        return found
    kept = found[: places[rows - 1] + 1]
    while len(kept) > 1 and kept[-1][1] in ("speaker", "empty"):  # who says nothing any more
        kept.pop()
    return [*kept[:-1], (kept[-1][0].rstrip() + " …", kept[-1][1])]


def broken(line: str, room: float = MEASURE) -> list[str]:
    """A line in parts that fit into `room`, broken at a space where there is one; all but the first are indented."""
    parts: list[str] = []
    while (end := fitting(line, room - INDENT if parts else room)) < len(line):
        space = line.rfind(" ", 1, end + 1)
        end = space if line[:space].strip() and space > 0 else end
        parts.append(line[:end])
        line = line[end:].lstrip(" ")
    return [*parts, line] if line else parts


def fitting(line: str, room: float) -> int:
    """How many characters of a line fit into `room`, at least one."""
    used = 0.0
    for i, character in enumerate(line):
        used += breadth(character)
        if used > room and i:
            return i
    return len(line)


def breadth(character: str) -> float:
    """About how wide a character is, in ems of a wide book face: the viewer's own is not known."""
    if ord(character) > 0x2000 and character not in "‘’“”–—…":
        return 1.0
    if character in " .,;:'’!|iljtfI-":
        return 0.33
    return 0.9 if character in "mwMW—" else 0.72 if character.isupper() else 0.51


def draw(samples: Sequence[Sample], training: Curve, validation: Curve, info: dict[str, Any]) -> str:
    """The whole figure, from all samples of a run."""
    chosen = choose(samples)
    if not chosen:
        raise UsageError("the run has no samples with a loss: nothing can be drawn")
    settings = [set_in_rows(sample.text) for sample in chosen]
    tops, y = [], TOP
    for rows in settings:
        tops.append(y)
        y += HEADING + sum(GAP if kind == "empty" else LINE for _, kind in rows) + AFTER
    height = round(y - AFTER + FOOT)
    model = info.get("model")
    vocabulary = model.get("vocab_size") if isinstance(model, dict) else None
    of_characters = not isinstance(vocabulary, int) or vocabulary <= MAX_CHARACTER_VOCABULARY
    token = "character" if of_characters else "token"
    parts = [
        box(0, 0, WIDTH, height, "paper", 10),
        text(40, 46, "one model learning", "kicker"),
        text(40, 81, "What each loss sounds like", "title"),
        text(40, 112, f"{NUMBERS[len(chosen)]} of a training run; the loss is on text that it never saw", "about"),
        *chart(chosen, tops, training, validation),
    ]
    for sample, rows, top in zip(chosen, settings, tops, strict=True):
        parts += card(sample, rows, top, token, is_last=sample is chosen[-1])
    about = "; ".join(f"at {sample.loss:.2f} nats per {token}, step {sample.step:,}" for sample in chosen)
    return sheet(WIDTH, height, "What each loss sounds like", f"Texts of one model in training: {about}", LOOK, parts)


def card(sample: Sample, rows: Sequence[tuple[str, str]], top: float, token: str, is_last: bool) -> list[str]:
    """A sample under its loss."""
    details = f"nats per {token}\u2003{sample.loss / math.log(2):.2f} bits\u2003step {sample.step:,}"
    details += ", the last" if is_last else ""
    parts = [phrase(TEXT, top + 8, [(f"{sample.loss:.2f}", "loss"), (f"  {details}", "pale")])]
    y = top + HEADING
    for words, kind in rows:
        if kind != "empty":
            parts.append(text(TEXT + (18 * INDENT if kind == "more" else 0), y, words, kind))
        y += GAP if kind == "empty" else LINE
    return parts


def chart(chosen: Sequence[Sample], tops: Sequence[float], training: Curve, validation: Curve) -> list[str]:
    """The loss as it fell, down the side of the sheet, and a thread from each sample's point to its text.

    The steps are on a logarithmic scale, for the first hundred change more than the last thousand.
    """
    smoothed = Curve(training.steps, smooth(training.losses))
    steps = [*training.steps, *validation.steps, *(sample.step for sample in chosen)]
    last = max(2.0, *steps)
    first = min(max(1.0, min(steps)), last / 2)
    high = max(sample.loss for sample in chosen)
    best = min(sample.loss for sample in chosen)
    low = max(min([*smoothed.losses, *validation.losses, best]), best - 0.6 * (high - best))
    high = max(high, low + 0.1)
    head, foot = tops[0] - 2, max(tops[-1], tops[0] + 260) + 8

    def at_x(step: float) -> float:
        return LEFT + (RIGHT - LEFT) * math.log(max(step, first) / first) / math.log(last / first)

    def at_y(loss: float) -> float:
        return head + (foot - head) * (high - loss) / (high - low)

    parts = []
    for tick, label in ticks(low, high, 10):
        y = at_y(tick)
        parts += [path(f"M{LEFT:g} {y:.1f}H{RIGHT:g}", "grid"), text(LEFT - 10, y + 5, label, "end tiny")]
    parts.append(path(f"M{LEFT:g} {foot + 14:g}H{RIGHT:g}", "axis"))
    for power in range(math.ceil(math.log10(first)), math.floor(math.log10(last)) + 1):
        x = at_x(10.0**power)
        parts += [path(f"M{x:.1f} {foot + 14:g}v4", "axis"), text(x, foot + 34, f"{10**power:,}", "middle tiny")]
    parts.append(text((LEFT + RIGHT) / 2, foot + 56, "steps", "middle about"))
    # A nested svg cuts off what leaves the frame.
    frame = f'x="0" y="{head - 8:g}" width="{RIGHT + 8:g}" height="{foot - head + 22:g}"'
    parts.append(f'<svg {frame} viewBox="0 {head - 8:g} {RIGHT + 8:g} {foot - head + 22:g}">')
    for curve, kind in ((smoothed, "training"), (validation, "validation")):
        if len(curve.steps) > 1:
            across, down = downsample(curve.steps, curve.losses, 240)
            points = "L".join(f"{at_x(a):.1f} {at_y(b):.1f}" for a, b in zip(across, down, strict=True))
            parts.append(path(f"M{points}", kind))
    parts.append("</svg>")
    for row, (curve, kind) in enumerate(((smoothed, "training"), (validation, "validation"))):
        if len(curve.steps) > 1:
            y = foot + 88 + 24 * row
            parts += [path(f"M{LEFT:g} {y - 5:g}h26", kind), text(LEFT + 36, y, kind, "about")]
    for sample, top in zip(chosen, tops, strict=True):
        x, y, end = at_x(sample.step), at_y(sample.loss), TEXT - 12
        bend = x + 0.6 * (end - x)
        parts.append(path(f"M{x:.1f} {y:.1f}C{bend:.1f} {y:.1f} {bend:.1f} {top - 2:g} {end:g} {top - 2:g}", "thread"))
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" class="point"/>')
    return parts


RULES = f"""
text {{ font: 18px {SERIF}; font-variant-numeric: lining-nums; white-space: pre; }}
.title {{ font-size: 30px; }} .loss {{ font-size: 30px; }} .pale {{ font-size: 17px; }} .tiny {{ font-size: 14.5px; }}
.about {{ font-style: italic; font-size: 17px; }}
.kicker {{ font-size: 18px; font-variant-caps: all-small-caps; letter-spacing: .06em; }}
.speaker {{ font-weight: bold; }} .middle {{ text-anchor: middle; }} .end {{ text-anchor: end; }}
path {{ fill: none; stroke-linejoin: round; stroke-linecap: round; stroke-width: 1.4; }} .grid {{ stroke-width: 1; }}
.thread {{ stroke-width: 1; }}
"""
COLOURS = """
text { fill: $ink; } .pale, .tiny, .about { fill: $pale; } .kicker, .loss { fill: $accent; } .paper { fill: $paper; }
.grid { stroke: $rule; } .axis { stroke: $pale; } .training { stroke: $blue; } .validation, .thread { stroke: $accent; }
.thread { stroke-opacity: .55; } .point { fill: $accent; }
"""
LOOK = style(RULES, COLOURS)


def main() -> None:
    """Read a run and draw it."""
    args = tyro.cli(Args, description=__doc__)
    try:
        info = json.loads((args.run / "run.json").read_bytes())
    except (OSError, ValueError):
        info = {}
    curves = read_curve(args.run, "train/loss"), read_curve(args.run, "val/loss")
    try:
        markup = draw(read_samples(args.run), *curves, info if isinstance(info, dict) else {})
    except UsageError as error:
        sys.stderr.write(f"{args.run}: {error}\n")
        sys.exit(error.exit_code)
    save(markup, args.out)


if __name__ == "__main__":
    main()
