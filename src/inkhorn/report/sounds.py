"""What each loss sounds like: of all that a run wrote along its way, the samples that tell its story.

They have one prompt and one seed, so that nothing changes from one to the next but the model.
"""

import math
from collections.abc import Sequence
from typing import Any

LOSSES = (3.3, 2.5, 2.0, 1.7, 1.5)
"""nats per character at which the text changes its nature: letters, words, lines, names, sentences"""
NEAR = 0.2
"""how far from its loss a sample may lie and still stand for it"""


def telling(samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The sample nearest to each of LOSSES, where there is one near, and the last of all; in order of the steps.

    Args:
        samples: lines of samples.jsonl, in order of their steps.

    """
    heard = [s for s in samples if math.isfinite(s.get("val/loss") or math.nan)]
    if not heard:
        return []
    last, earlier = heard[-1], heard[:-1]
    chosen = {last["step"]: last}
    for goal in LOSSES:
        near = [s for s in earlier if abs(s["val/loss"] - goal) < NEAR and s["step"] not in chosen]
        if near and goal > last["val/loss"]:
            best = min(near, key=lambda s: abs(s["val/loss"] - goal))
            chosen[best["step"]] = best
    return [chosen[step] for step in sorted(chosen)]
