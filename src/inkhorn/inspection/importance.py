"""Importance: how the log-probability of a token changes if a head, a layer's attention or an MLP is switched off."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inkhorn.errors import require
from inkhorn.inference.edits import Edits
from inkhorn.inference.numpy_model import Array, Hook, HookPoint, KVCache, NumpyModel

NUM_ABLATED = 40
"""Parts are switched off at so many of the last tokens; what was computed before them stays."""


@dataclass(frozen=True, eq=False)
class Importance:
    """Effects on the log-probability of a text's last token: with the part switched off, minus as it is.

    Negative values mean that the part makes the token more likely.

    Attributes:
        logprob: the log-probability with everything switched on.
        heads: (n_layer, n_head).
        attn: (n_layer,), all heads of a layer and the bias of their projection.
        mlp: (n_layer,).
    """

    logprob: float
    heads: Array
    attn: Array
    mlp: Array

    def to_json(self) -> dict[str, Any]:
        """The `effects` of the server's importance endpoint."""
        return {name: np.round(np.asarray(value, np.float64), 4).tolist() for name, value in vars(self).items()}


def importance(model: NumpyModel, token_ids: Sequence[int], edits: Edits | None = None) -> Importance:
    """Switch off each part in turn at the last NUM_ABLATED tokens, and predict the last token.

    The layers before a part do not change, so only those after it are computed again.

    Args:
        token_ids: the text, at least two tokens; the last ones that fit into the context are used.
        edits: other changes, which apply to all runs.
    """
    config = model.config
    require(len(token_ids) > 1, "there is nothing to compare: the text needs at least two tokens")
    start = max(0, len(token_ids) - 1 - config.block_size)  # the last token is predicted, not read
    ids, target = list(token_ids[start:-1]), token_ids[-1]
    changed = max(0, len(ids) - NUM_ABLATED)
    hook = None if edits is None else edits.hook(start)
    cache, found = KVCache(config), dict[str, Array]()
    if changed:
        model.forward(ids[:changed], cache, hook)
    logits = model.forward(ids[changed:], cache, _recorder(found, hook))
    logprob = _log_probability(logits[-1], target)
    cache.length = changed  # what comes before stays; every run writes the keys and values after it

    def effect(layer: int, x: Array) -> float:
        """The change if the stream after this layer is x: (T, C)."""
        x = model.run_blocks(x, layer + 1, cache, hook)
        return _log_probability(model.compute_logits(x[-1:], hook, len(ids) - 1)[-1], target) - logprob

    effects = np.empty((config.n_layer, config.n_head + 2))
    for layer in range(config.n_layer):
        before = found[f"blocks.{layer}.hook_resid_pre"]  # (T, C)
        outs = [*_without_each_head(model, layer, found, hook, changed), np.zeros_like(before)]
        streams = [model.finish_block(before, out, layer, changed, hook) for out in outs]
        streams.append(_without_mlp(model, layer, found, hook, changed))
        effects[layer] = [effect(layer, x) for x in streams]
    heads, attn, mlp = effects[:, :-2], effects[:, -2], effects[:, -1]
    return Importance(logprob, heads, attn, mlp)


def _without_each_head(
    model: NumpyModel, layer: int, found: dict[str, Array], hook: Hook | None, position: int
) -> Iterator[Array]:
    """What a layer's attention adds without each of its heads: (T, C) each."""
    w, z = model.blocks[layer], found[f"blocks.{layer}.attn.hook_z"]  # (T, nh, hs)
    for head in range(z.shape[1]):
        rest = z.copy()
        rest[:, head] = 0.0
        out = rest.reshape(len(z), -1) @ w["attn.c_proj.weight"] + w["attn.c_proj.bias"]  # (T, C)
        replaced = None if hook is None else hook(out, HookPoint(f"blocks.{layer}.hook_attn_out", position))
        yield out if replaced is None else replaced


def _without_mlp(model: NumpyModel, layer: int, found: dict[str, Array], hook: Hook | None, position: int) -> Array:
    """The stream after a layer whose MLP adds nothing: (T, C)."""
    x = found[f"blocks.{layer}.hook_resid_mid"]
    if not model.config.pre_norm:
        x = model.norm(x, model.blocks[layer], "ln_2")
    replaced = None if hook is None else hook(x, HookPoint(f"blocks.{layer}.hook_resid_post", position))
    return x if replaced is None else replaced


def _recorder(into: dict[str, Array], hook: Hook | None) -> Hook:
    """A hook that keeps the activations that are needed, as `hook` leaves them."""

    def record(x: Array, point: HookPoint) -> Array | None:
        replaced = None if hook is None else hook(x, point)
        if point.name.endswith(("hook_resid_pre", "hook_resid_mid", "hook_z")):
            into[point.name] = x if replaced is None else replaced
        return replaced

    return record


def _log_probability(logits: Array, token_id: int) -> float:
    shifted = logits.astype(np.float64) - logits.max()
    return float(shifted[token_id] - np.log(np.exp(shifted).sum()))
