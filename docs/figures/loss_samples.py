"""Draw docs/loss-samples.svg: the loss curve of a training run, and samples at several losses.

    python docs/figures/loss_samples.py --run RUN_FOLDER [--out docs/loss-samples.svg]

The samples are those that the run's report shows. The loss beside each is its own validation loss.
"""

import math
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import tyro
from matplotlib.figure import Figure

from inkhorn.errors import UsageError
from inkhorn.training.report.chart import COLORS, LINE_STYLES, RC_PARAMS, save_svg
from inkhorn.training.report.run_log import RunLog, read_run, series, smooth
from inkhorn.training.report.samples import representative_samples

LINES, COLUMNS = 7, 62  # of a sample


@dataclass
class Args:
    """Which run to draw."""

    run: Path
    """the run's folder"""
    out: Path = Path(__file__).parents[1] / "loss-samples.svg"
    """where to write the figure"""


def draw(run: RunLog) -> Figure:
    """Draw the loss curve on the left and the samples, one below the other, on the right."""
    samples = representative_samples(run.samples)
    if not samples:
        raise UsageError("the run has no samples with a validation loss")
    figure = Figure(figsize=(8.8, 2.1 * len(samples)), layout="constrained")
    grid = figure.add_gridspec(len(samples), 2, width_ratios=(1, 2.2))
    axes = figure.add_subplot(grid[:, 0], title="Loss, nats per token", xlabel="step", xscale="log")
    for records, key, style in ((run.training, "train/loss", "training"), (run.evaluations, "val/loss", "validation")):
        x, y = series(records, key)
        axes.plot(x, smooth(y) if style == "training" else y, label=style, **LINE_STYLES[style])
    axes.plot([s["step"] for s in samples], [s["val/loss"] for s in samples], "o", color=COLORS["accent"])
    axes.legend()
    for row, sample in enumerate(samples):
        _add_sample(figure.add_subplot(grid[row, 1]), sample)
    return figure


def _add_sample(axes: Any, sample: dict[str, Any]) -> None:
    loss = sample["val/loss"]
    axes.set_axis_off()
    axes.set_title(f"{loss:.2f} nats ({loss / math.log(2):.2f} bits) per token, step {sample['step']:,}")
    axes.text(0, 1, first_lines(sample["text"]), va="top", color=COLORS["ink"], parse_math=False)


def first_lines(text: str, lines: int = LINES, columns: int = COLUMNS) -> str:
    """The beginning of a text, wrapped; an ellipsis shows that there is more. Unprintable characters become U+FFFD."""
    wrapped = [part for line in text.strip("\n").split("\n") for part in textwrap.wrap(line, columns) or [""]]
    kept = "\n".join(wrapped[:lines]) + (" …" if len(wrapped) > lines else "")
    return "".join(c if c == "\n" or c.isprintable() else "\ufffd" for c in kept)


def main() -> None:
    """Read a run and draw it."""
    args = tyro.cli(Args, description=__doc__)
    with matplotlib.rc_context(RC_PARAMS | {"font.family": "serif"}):
        try:
            save_svg(draw(read_run(args.run)), args.out)
        except UsageError as error:
            sys.exit(f"{args.run}: {error}")


if __name__ == "__main__":
    main()
