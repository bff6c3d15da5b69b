"""A checkpoint of others in our terms, and what LayerNorm lets one do to its head."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from inkhorn.config.model import ModelConfig
from inkhorn.convert.state_dict import Array

Recipe = Callable[[], Array]

LEVEL = 0.25
"""what `fold_head` adds to each unit of the last norm, whose own deviation is 1: enough to carry the constants"""


@dataclass(frozen=True)
class Imported:
    """A checkpoint of others in our terms.

    Attributes:
        form: whose it is.
        config: its shape.
        tensors: what makes each tensor of `config.tensor_specs()`.
        dtype: of the numbers in its file: F32, F16 or BF16.
        notes: what a user should know.

    """

    form: str
    config: ModelConfig
    tensors: dict[str, Recipe]
    dtype: str = "F32"
    notes: tuple[str, ...] = ()


def with_head(imported: Imported, gain: Array, bias: Array, head: Array, head_bias: Array) -> Imported:
    """The model with another head (V, C) that has a bias (V,), behind a last norm with this gain and bias (C,)."""
    head, level = fold_head(gain, bias, head, head_bias)
    tensors = imported.tensors | {
        "ln_f.weight": lambda: np.ones_like(level),
        "ln_f.bias": lambda: level,
        "lm_head.weight": lambda: head,
    }
    return replace(imported, config=replace(imported.config, tie_word_embeddings=False), tensors=tensors)


def fold_head(gain: Array, bias: Array, head: Array, head_bias: Array) -> tuple[Array, Array]:
    """A head (V, C) without bias and a last norm's bias (C,), whose gain is 1, that give the same logits.

    LayerNorm makes x of mean 0, so what a head's row has along (1, ..., 1) meets the norm's own bias and nothing else.
    With each unit of that at LEVEL, t (1, ..., 1) adds t C LEVEL to the row's logit whatever x is: the place for a
    constant. This holds for any vocabulary; least squares on ln_f.bias would be exact only up to V = C.
    """
    wide = (head * gain).astype(np.float64)  # (V, C): the gain is the head's business
    constant = head.astype(np.float64) @ bias + head_bias  # (V,)
    rows = wide - wide.mean(1, keepdims=True) + (constant / (head.shape[1] * LEVEL))[:, None]  # (V, C)
    return rows.astype(np.float32), np.full(head.shape[1], LEVEL, np.float32)
