"""What each loss sounds like: of all that a run wrote along its way, the samples that tell its story.

They have one prompt and one seed, so that nothing changes from one to the next but the model.
"""

import math
from collections.abc import Sequence
from typing import Any

LOSSES = (3.3, 2.5, 2.0, 1.7, 1.5)
"""nats per character at which the text changes its nature: letters, words, lines, names, sentences"""
NEAR = 0.25
"""how far from its loss a sample may lie and still stand for it"""


def telling(samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last of all, and the sample nearest to each of LOSSES above it, where there is one near; by their steps.

    The closest pair of a loss and a sample is matched first, so that no loss takes what fits another better.

    Args:
        samples: lines of samples.jsonl, in order of their steps.

    """
    heard = [s for s in samples if isinstance(s.get("val/loss"), int | float) and math.isfinite(s["val/loss"])]
    if not heard:
        return []
    *left, last = heard
    wanted, chosen = [loss for loss in LOSSES if loss > last["val/loss"]], [last]
    while left and wanted:
        goal, best = min(((loss, s) for loss in wanted for s in left), key=lambda p: abs(p[0] - p[1]["val/loss"]))
        if abs(goal - best["val/loss"]) > NEAR:
            break
        wanted.remove(goal)
        left.remove(best)
        chosen.append(best)
    return sorted(chosen, key=lambda s: s["step"])
