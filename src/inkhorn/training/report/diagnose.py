"""A sentence that compares training and validation loss."""

import math

import numpy as np

from inkhorn.training.report.run_log import RunLog, number, series, smooth

PLATEAU = 0.005  # a smaller rise of the validation loss, in nats per token, is not called overfitting


def diagnose(run: RunLog) -> str:
    """Whether the run overfits, with the numbers behind the answer."""
    steps, losses = series(run.evaluations, "val/loss")
    if not len(steps):
        return "No evaluation yet: the loss on held-out text is unknown."
    x, y = series(run.training, "train/loss")
    best, last = int(np.argmin(losses)), len(losses) - 1
    # Training losses are read off the smoothed line, so that they agree with the chart.
    train_then, train_now = np.interp(steps[[best, last]], x, smooth(y)) if len(x) else (math.nan, math.nan)
    gap = losses[last] - train_now
    distance = _distance(run, float(steps[last]), gap, train_now)
    now = f"step {steps[last]:,.0f}"
    if last == 0:
        return f"One evaluation so far: at {now} the validation loss is {losses[0]:.3f}, {distance}."
    if best == last:
        previous = int(np.argmin(losses[:-1]))
        fall = f"{losses[previous] - losses[last]:.3f} below the previous best at step {steps[previous]:,.0f}"
        lowest = f"the validation loss of {losses[last]:.3f} is the lowest so far, {fall}"
        return f"No overfitting up to {now}: {lowest}, and {distance}."
    since = f"since step {steps[best]:,.0f}"
    rise = f"{losses[last] - losses[best]:.3f} (from {losses[best]:.3f} to {losses[last]:.3f})"
    if math.isnan(gap):
        return f"Validation loss has risen by {rise} {since}; {distance}."
    falls = train_now < train_then
    verb = f"fell by {train_then - train_now:.3f}" if falls else "did not fall"
    training = f"training loss {verb} (from {train_then:.3f} to {train_now:.3f})"
    if losses[last] - losses[best] < PLATEAU:
        return f"Plateau {since}: validation loss rose by only {rise} while {training}."
    if falls:
        gaps = f"the gap grew from {losses[best] - train_then:.3f} to {gap:.3f}"
        return f"Overfitting {since}: validation loss rose by {rise} while {training}; {gaps}."
    return f"Worse {since}, but not overfitting: validation loss rose by {rise}, and {training}."


def _distance(run: RunLog, step: float, gap: float, train_loss: float) -> str:
    """The distance of the validation loss from the training loss, in words."""
    if math.isnan(gap):
        return "the training loss was not recorded"
    words = f"{abs(gap):.3f} {'above' if gap >= 0 else 'below'} the training loss of {train_loss:.3f}"
    train = run.table("train")
    dropout_start = number(train, "dropout_start") * number(train, "steps")  # nan where it is unknown
    if gap < 0 and number(train, "dropout") > 0 and not step <= dropout_start:
        words += ", which is measured with dropout"
    return words
