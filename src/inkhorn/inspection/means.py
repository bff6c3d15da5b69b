"""The mean of each activation that an intervention can replace, over a reference text."""

from collections.abc import Sequence

import numpy as np

from inkhorn.inference.numpy_model import Array, HookPoint, NumpyModel
from inkhorn.inspection.windows import run_windows

_ENDS = ("hook_z", "hook_attn_out", "hook_mlp_out", "hook_resid_post")


def mean_activations(model: NumpyModel, token_ids: Sequence[int]) -> dict[str, Array]:
    """Means over all positions, by the names of `HookPoint`: (nh, hs) for hook_z, (C,) for the others."""
    sums: dict[str, Array] = {}

    def add(x: Array, point: HookPoint) -> None:
        if point.name.endswith(_ENDS) or point.name == "blocks.0.hook_resid_pre":
            sums[point.name] = sums.get(point.name, 0.0) + x.sum(0, dtype=np.float64)

    count = sum(map(len, run_windows(model, token_ids, add)))
    return {name: (total / count).astype(np.float32) for name, total in sums.items()}
