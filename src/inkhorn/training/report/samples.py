"""Selects the samples of a run that show best how the text improves with the loss.

All samples of a run have the same prompt and seed, so that they differ by the model only.
"""

import math
from collections.abc import Sequence
from typing import Any

LOSSES = (3.3, 2.5, 2.0, 1.7, 1.5)
"""Nats per character at which the text changes in kind: letters, words, lines, names, sentences."""
MAX_DISTANCE = 0.25  # maximum distance between a sample's loss and the loss that it represents


def representative_samples(samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last sample, and for each of LOSSES above its loss the nearest one within MAX_DISTANCE; sorted by step.

    The closest pair of a loss and a sample is matched first, so that no loss takes a sample that fits another better.

    Args:
        samples: lines of samples.jsonl, sorted by step.
    """
    evaluated = [s for s in samples if isinstance(s.get("val/loss"), int | float) and math.isfinite(s["val/loss"])]
    if not evaluated:
        return []
    *left, last = evaluated
    wanted, chosen = [loss for loss in LOSSES if loss > last["val/loss"]], [last]
    while left and wanted:
        goal, best = min(((loss, s) for loss in wanted for s in left), key=lambda p: abs(p[0] - p[1]["val/loss"]))
        if abs(goal - best["val/loss"]) > MAX_DISTANCE:
            break
        wanted.remove(goal)
        left.remove(best)
        chosen.append(best)
    return sorted(chosen, key=lambda s: s["step"])
