"""Steering vectors: a direction in the residual stream that tells two kinds of text apart.

The vector is the difference between the means of the residual stream over the two texts (Turner et al. 2023,
"Activation Addition"; Rimsky et al. 2023). Added to the stream while a text is generated, it moves the text towards the
first kind.
"""

from collections.abc import Sequence

import numpy as np

from inkhorn.errors import require
from inkhorn.inference.numpy_model import Array, HookPoint, NumpyModel
from inkhorn.inspection.windows import MAX_TOKENS, Enough, run_windows

STRENGTH = 0.4
"""The largest measured factor adds this share of the stream's length, which shows the effect and spares the grammar."""
_STEPS = (-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1)


def steering_vector(
    model: NumpyModel,
    positive: Sequence[int],
    negative: Sequence[int],
    layer: int,
    max_tokens: int = MAX_TOKENS,
) -> tuple[Array, tuple[float, ...]]:
    """A steering vector, and the factors at which its effect is worth measuring.

    Args:
        positive: the text of the kind to steer towards.
        negative: the text of the kind to steer away from.
        layer: the layer before which the residual streams are compared.
        max_tokens: how many tokens of each text are read.

    Returns:
        The mean of the stream over one text minus that over the other: (C,), float32; and seven factors in ascending
        order, the middle one 0.

    Raises:
        UsageError: there is no such layer, or a text has fewer than two tokens.
    """
    last = model.config.n_layer
    require(0 <= layer <= last, f"layer must be from 0 to {last}, not {layer}")
    means, lengths = zip(*(_mean(model, text, layer, max_tokens) for text in (positive, negative)), strict=True)
    vector = means[0] - means[1]
    largest = STRENGTH * float(np.mean(lengths)) / max(float(np.linalg.norm(vector)), 1e-6)
    return vector.astype(np.float32), tuple(float(f"{min(largest, 1000) * step:.2g}") for step in _STEPS)


def _mean(model: NumpyModel, token_ids: Sequence[int], layer: int, max_tokens: int) -> tuple[Array, float]:
    """The mean of the stream, (C,), and of its length."""
    name = f"blocks.{layer}.hook_resid_pre" if layer < model.config.n_layer else f"blocks.{layer - 1}.hook_resid_post"
    total, length = np.zeros(model.config.n_embd), 0.0

    def add(x: Array, point: HookPoint) -> None:
        nonlocal total, length
        if point.name == name:
            total = total + x.sum(0, dtype=np.float64)
            length += float(np.linalg.norm(x, axis=1).sum())
            raise Enough

    count = sum(map(len, run_windows(model, token_ids, add, max_tokens)))
    return total / count, length / count
