"""Options of transformers that scale the attention scores, folded into the weights.

The scores are linear in the queries, so a factor on the scores of a layer is a factor on its query weights and biases.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from inkhorn.checkpoint.tensor_file import Array
from inkhorn.config.model import FOLDED_IN_HF, ModelConfig
from inkhorn.convert.converted import ConvertedModel


def foldable_config(spec: Mapping[str, Any]) -> ModelConfig:
    """The config of a config.json without the options that `fold_attention_scale` folds into the weights."""
    return ModelConfig.from_hf({key: value for key, value in spec.items() if key not in FOLDED_IN_HF})


def fold_attention_scale(model: ConvertedModel, spec: Mapping[str, Any]) -> ConvertedModel:
    """The model of a config.json with its attention scales in the query weights, in float32 if there are any."""
    config, found = model.config, []
    if not config.pre_norm:  # transformers' GPT-1 has no such options
        return model
    factors = np.ones(config.n_layer)
    if not spec.get("scale_attn_weights", True):
        factors *= config.head_dim**0.5
        found.append("scale_attn_weights")
    if spec.get("scale_attn_by_inverse_layer_idx", False):
        factors /= np.arange(1, config.n_layer + 1)
        found.append("scale_attn_by_inverse_layer_idx")
    if not found:
        return model
    tensors = dict(model.tensors)
    for layer, factor in enumerate(factors):
        for kind in ("weight", "bias"):
            name = f"h.{layer}.attn.c_attn.{kind}"
            tensors[name] = _scaled_queries(tensors[name], float(factor), config.n_embd)
    note = f"folded into the query weights: {', '.join(found)}"
    return replace(model, tensors=tensors, dtype="float32", notes=(*model.notes, note))


def _scaled_queries(read: Callable[[], Array], factor: float, width: int) -> Callable[[], Array]:
    """c_attn's tensor with its first `width` columns, the queries, multiplied."""

    def scaled() -> Array:
        array = np.array(read(), np.float32)
        array[..., :width] *= np.float32(factor)
        return array

    return scaled
