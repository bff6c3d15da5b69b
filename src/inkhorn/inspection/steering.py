"""Steering vectors: a direction in the residual stream that tells two kinds of text apart.

The vector is the difference between the means of the residual stream over the two texts (Turner et al. 2023,
"Activation Addition"; Rimsky et al. 2023). Added to the stream while a text is generated, it moves the text towards the
first kind.
"""

from collections.abc import Sequence

import numpy as np

from inkhorn.errors import require
from inkhorn.inference.numpy_model import Array, HookPoint, NumpyModel
from inkhorn.inspection.windows import run_windows


def steering_vector(model: NumpyModel, positive: Sequence[int], negative: Sequence[int], layer: int) -> Array:
    """The mean of the stream before a layer over one text minus that over another: (C,), float32.

    Raises:
        UsageError: there is no such layer, or a text has fewer than two tokens.
    """
    last = model.config.n_layer
    require(0 <= layer <= last, f"layer must be from 0 to {last}, not {layer}")
    return (_mean(model, positive, layer) - _mean(model, negative, layer)).astype(np.float32)


def _mean(model: NumpyModel, token_ids: Sequence[int], layer: int) -> Array:
    name = f"blocks.{layer}.hook_resid_pre" if layer < model.config.n_layer else f"blocks.{layer - 1}.hook_resid_post"
    total = np.zeros(model.config.n_embd)

    def add(x: Array, point: HookPoint) -> None:
        nonlocal total
        if point.name == name:
            total = total + x.sum(0, dtype=np.float64)

    count = sum(map(len, run_windows(model, token_ids, add)))
    return np.asarray(total / count)
