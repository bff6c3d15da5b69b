"""Direct logit attribution: how much each part of a model adds to the logit of a token.

The logits are a linear function of the residual stream once the scale of the last LayerNorm is fixed (Elhage et al.
2021, "A Mathematical Framework for Transformer Circuits"). The stream is the sum of the embeddings and of what each
head, bias and MLP adds, so each has an exact share of the logit. What a part does to later parts is not counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inkhorn.errors import require
from inkhorn.inference.edits import Edits
from inkhorn.inference.numpy_model import Array, NumpyModel
from inkhorn.inference.run import run


@dataclass(frozen=True, eq=False)
class Attribution:
    """Shares of a text's last token in its logit, relative to the mean logit of all tokens.

    `total` is the sum of all shares.

    Attributes:
        total: the logit of the token minus the mean of all logits.
        embedding: the share of the token embedding.
        position: the share of the position embedding.
        heads: (n_layer, n_head).
        attn_bias: (n_layer,), of the bias of attention's projection.
        mlp: (n_layer,).
        bias: the share of the last LayerNorm's bias.
    """

    total: float
    embedding: float
    position: float
    heads: Array
    attn_bias: Array
    mlp: Array
    bias: float

    def to_json(self) -> dict[str, Any]:
        """The `direct` shares of the server's importance endpoint."""
        return {name: np.round(np.asarray(value, np.float64), 4).tolist() for name, value in vars(self).items()}


def attribution(model: NumpyModel, token_ids: Sequence[int], edits: Edits | None = None) -> Attribution:
    """Attribute the logit of a text's last token, as predicted at the token before it.

    Args:
        token_ids: the text, at least two tokens; the last ones that fit into the context are used.
        edits: changes to activations.

    Raises:
        UsageError: the text is too short, or the model is a GPT-1, which normalises its residual stream in every layer.
    """
    config, weights = model.config, model.weights
    message = "direct logit attribution needs a GPT-2: a GPT-1 normalises its residual stream in every layer"
    require(config.pre_norm, message)
    require(len(token_ids) > 1, "there is nothing to attribute: the text needs at least two tokens")
    start = max(0, len(token_ids) - 1 - config.block_size)  # the last token is predicted, not read
    shifted = None if edits is None else Edits(edits.shifted(start))
    names = {"hook_embed", "hook_pos_embed", f"blocks.{config.n_layer - 1}.hook_resid_post"}
    for i in range(config.n_layer):
        names |= {f"blocks.{i}.attn.hook_z", f"blocks.{i}.hook_mlp_out"}
    found = run(model, token_ids[start:-1], edits=shifted, names=names)
    target = token_ids[-1]
    direction = model.head[target] - model.head.mean(0)  # (C,)
    stream = found[f"blocks.{config.n_layer - 1}.hook_resid_post"][-1].astype(np.float64)  # (C,)
    centred = stream - stream.mean()
    scale = np.sqrt((centred * centred).mean() + config.layer_norm_epsilon)
    # A part c adds (c - mean(c)) / scale * gain . direction; the mean is moved to the other factor.
    reading = weights["ln_f.weight"].astype(np.float64) * direction  # (C,)
    reading = (reading - reading.mean()) / scale

    def share(part: Array) -> Array:
        """The share of the rows of a part: (..., C) -> (...)."""
        return np.asarray(part.astype(np.float64) @ reading)

    size = config.head_dim
    heads = np.empty((config.n_layer, config.n_head))
    for i in range(config.n_layer):
        projection = weights[f"h.{i}.attn.c_proj.weight"].reshape(config.n_head, size, config.n_embd)  # (nh, hs, C)
        z = found[f"blocks.{i}.attn.hook_z"][-1]  # (nh, hs)
        heads[i] = share(np.einsum("hs,hsc->hc", z, projection))
    return Attribution(
        total=float(found.logits[-1][target] - found.logits[-1].mean()),
        embedding=float(share(found["hook_embed"][-1])),
        position=float(share(found["hook_pos_embed"][-1])),
        heads=heads,
        attn_bias=share(np.stack([weights[f"h.{i}.attn.c_proj.bias"] for i in range(config.n_layer)])),
        mlp=share(np.stack([found[f"blocks.{i}.hook_mlp_out"][-1] for i in range(config.n_layer)])),
        bias=float(weights["ln_f.bias"].astype(np.float64) @ direction),
    )
