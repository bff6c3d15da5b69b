"""The forward pass in NumPy, with a key-value cache and hooks that read or replace activations by name.

It is the reference for faster backends, the backend where there is no compiler, and the source of explanations. In the
comments T is the number of new tokens, S of all tokens so far, C = n_embd, nh = n_head, hs = C / nh, V = vocab_size.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inkhorn.checkpoint.weights import read_config, read_weights
from inkhorn.config.model import ModelConfig

Array = np.ndarray[Any, Any]  # always float32; NumPy's stubs lose that in a product with a Python number


@dataclass(frozen=True, slots=True)
class HookPoint:
    """Where a hook is called.

    The names are those of TransformerLens (Nanda and Bloom 2022), the shapes theirs without the batch. For T new tokens
    of S so far, i a layer:

    | name | shape | activation |
    | --- | --- | --- |
    | hook_embed, hook_pos_embed | (T, C) | token and position embeddings |
    | blocks.i.hook_resid_pre | (T, C) | residual stream before the block |
    | blocks.i.ln1.hook_normalized | (T, C) | after the first LayerNorm |
    | blocks.i.attn.hook_q, hook_k, hook_v | (T, nh, hs) | queries, keys, values |
    | blocks.i.attn.hook_attn_scores | (nh, T, S) | before the softmax; -inf for later tokens |
    | blocks.i.attn.hook_pattern | (nh, T, S) | attention weights |
    | blocks.i.attn.hook_z | (T, nh, hs) | output of each head |
    | blocks.i.hook_attn_out | (T, C) | what attention adds to the stream |
    | blocks.i.hook_resid_mid | (T, C) | residual stream between attention and MLP |
    | blocks.i.ln2.hook_normalized | (T, C) | after the second LayerNorm |
    | blocks.i.mlp.hook_pre, hook_post | (T, 4C) | hidden layer before and after the activation function |
    | blocks.i.hook_mlp_out | (T, C) | what the MLP adds to the stream |
    | blocks.i.hook_resid_post | (T, C) | residual stream after the block |
    | ln_final.hook_normalized | (T, C) | after the last LayerNorm (GPT-2) |

    GPT-1 normalises the stream itself after each sum: there hook_resid_mid is the output of ln1, and hook_resid_post
    that of ln2.

    Attributes:
        name: the activation's name.
        position: the position of the first of the T tokens in the context.
    """

    name: str
    position: int

    def layer(self) -> int | None:
        """The block; None outside the blocks."""
        parts = self.name.split(".")
        return int(parts[1]) if parts[0] == "blocks" else None


Hook = Callable[[Array, HookPoint], Array | None]
"""Called with an activation and its name; returns its replacement, or None to leave it."""


class KVCache:
    """Keys and values of a sequence's tokens.

    Attributes:
        keys: (n_layer, nh, hs, block_size): transposed, so that all scores are one matrix product.
        values: (n_layer, nh, block_size, hs).
        length: number of cached tokens.
    """

    def __init__(self, config: ModelConfig) -> None:
        heads, block, size = config.n_head, config.block_size, config.head_dim
        self.keys: Array = np.zeros((config.n_layer, heads, size, block), np.float32)
        self.values: Array = np.zeros((config.n_layer, heads, block, size), np.float32)
        self.length = 0


def erf(x: Array) -> Array:
    """The error function to 4e-7 (Abramowitz and Stegun 1964, 7.1.26: 1.5e-7, plus float32 rounding)."""
    t = 1.0 / (1.0 + 0.3275911 * np.abs(x))
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.sign(x) * (1.0 - poly * np.exp(-x * x))


def gelu_new(x: Array) -> Array:
    """GELU, tanh approximation (Hendrycks and Gimpel 2016)."""
    inner = x * (0.7978845608028654 + 0.035677408136300125 * (x * x))  # sqrt(2 / pi) (x + 0.044715 x^3)
    return 0.5 * x * (1.0 + np.tanh(inner))


def gelu(x: Array) -> Array:
    """GELU, exact (with erf)."""
    return 0.5 * x * (1.0 + erf(x / np.float32(math.sqrt(2.0))))


def relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


ACTIVATIONS = {"gelu_new": gelu_new, "gelu": gelu, "relu": relu}


def layer_norm(x: Array, weight: Array, bias: Array, epsilon: float) -> Array:
    """Normalise each row to mean 0 and variance 1, then scale and shift: (T, C) -> (T, C)."""
    x = x - x.mean(-1, keepdims=True)
    variance = np.einsum("tc,tc->t", x, x)[:, None] / x.shape[-1]  # (T, 1)
    return x / np.sqrt(variance + epsilon) * weight + bias


def softmax(x: Array) -> Array:
    """Softmax over the last axis."""
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


class NumpyModel:
    """A GPT-1 or GPT-2 in NumPy.

    Args:
        weights: float32, with the names and shapes of `config.tensor_specs()`; matrices are [in, out].
    """

    def __init__(self, config: ModelConfig, weights: Mapping[str, Array]) -> None:
        self.config = config
        self.weights = weights
        self.head: Array = weights["wte.weight" if config.tie_word_embeddings else "lm_head.weight"]  # (V, C)
        self.act = ACTIVATIONS[config.activation_function]
        # One dictionary per block, so that the forward pass looks up short names.
        self.blocks = [
            {name.removeprefix(f"h.{i}."): array for name, array in weights.items() if name.startswith(f"h.{i}.")}
            for i in range(config.n_layer)
        ]

    @classmethod
    def from_pretrained(cls, folder: Path) -> "NumpyModel":
        """Load a checkpoint folder; raises CheckpointError if it is not valid."""
        config = read_config(folder)
        return cls(config, read_weights(folder, config))

    # Damaged weights give logits that are not finite, which sampling reports.
    @np.errstate(over="ignore", invalid="ignore")
    def forward(
        self, ids: Sequence[int], cache: KVCache, hook: Hook | None = None, *, all_logits: bool = False
    ) -> Array:
        """Compute tokens that follow those in the cache.

        Args:
            ids: T token ids, at least one.
            cache: the sequence's cache; grows by T.
            hook: called for each activation in turn (`HookPoint`); may replace it. Keys and values are cached as
                replaced.
            all_logits: return logits for each token instead of only the last.

        Returns:
            Logits (T, V), or (1, V) for the last token only.

        Raises:
            ValueError: the cache cannot hold T more tokens, or a hook returned another shape.
        """
        start, end = cache.length, cache.length + len(ids)
        if end > self.config.block_size:
            raise ValueError(f"{end} tokens exceed the block size of {self.config.block_size}")
        at = _hook_caller(hook, start)
        token = at("hook_embed", self.weights["wte.weight"][list(ids)])  # (T, C)
        x: Array = token + at("hook_pos_embed", self.weights["wpe.weight"][start:end])  # (T, C)
        x = self.run_blocks(x, 0, cache, hook)
        cache.length = end
        return self.compute_logits(x if all_logits else x[-1:], hook, start if all_logits else end - 1)

    def run_blocks(self, x: Array, first: int, cache: KVCache, hook: Hook | None = None) -> Array:
        """The blocks from `first` on: (T, C) -> (T, C), for T tokens after those in the cache, which does not grow."""
        at = _hook_caller(hook, cache.length)
        for i in range(first, self.config.n_layer):
            w, block = self.blocks[i], f"blocks.{i}."
            x = at(block + "hook_resid_pre", x)
            if self.config.pre_norm:
                attended = self._attention(at(block + "ln1.hook_normalized", self.norm(x, w, "ln_1")), i, cache, at)
            else:
                attended = self._attention(x, i, cache, at)
            x = self.finish_block(x, attended, i, cache.length, hook)
        return x

    def finish_block(self, x: Array, attended: Array, layer: int, position: int, hook: Hook | None = None) -> Array:
        """The rest of a block, from the stream before it and what its attention adds: (T, C) -> (T, C)."""
        at, w, block = _hook_caller(hook, position), self.blocks[layer], f"blocks.{layer}."
        if self.config.pre_norm:
            x = at(block + "hook_resid_mid", x + attended)  # (T, C)
            x = x + self._mlp(at(block + "ln2.hook_normalized", self.norm(x, w, "ln_2")), w, block, at)
        else:
            x = at(block + "ln1.hook_normalized", self.norm(x + attended, w, "ln_1"))
            x = at(block + "hook_resid_mid", x)
            x = at(block + "ln2.hook_normalized", self.norm(x + self._mlp(x, w, block, at), w, "ln_2"))
        return at(block + "hook_resid_post", x)

    def compute_logits(self, x: Array, hook: Hook | None = None, position: int = 0) -> Array:
        """Final LayerNorm (GPT-2) and output head: (T, C) -> (T, V)."""
        if self.config.pre_norm:
            normalized = self.norm(x, self.weights, "ln_f")
            x = _hook_caller(hook, position)("ln_final.hook_normalized", normalized)
        logits: Array = x @ self.head.T  # (T, V)
        return logits

    def norm(self, x: Array, weights: Mapping[str, Array], name: str) -> Array:
        """A LayerNorm of this model: (T, C) -> (T, C)."""
        return layer_norm(x, weights[name + ".weight"], weights[name + ".bias"], self.config.layer_norm_epsilon)

    def _attention(self, x: Array, layer: int, cache: KVCache, at: "_At") -> Array:
        w, (T, C) = self.blocks[layer], x.shape
        heads, size = self.config.n_head, self.config.head_dim
        start, end = cache.length, cache.length + T
        name = f"blocks.{layer}.attn."
        qkv = x @ w["attn.c_attn.weight"] + w["attn.c_attn.bias"]  # (T, 3C)
        q, k, v = qkv.reshape(T, 3, heads, size).transpose(1, 0, 2, 3)  # three of (T, nh, hs)
        q, k, v = at(name + "hook_q", q), at(name + "hook_k", k), at(name + "hook_v", v)
        cache.keys[layer, :, :, start:end] = k.transpose(1, 2, 0)  # (nh, hs, T)
        cache.values[layer, :, start:end] = v.transpose(1, 0, 2)  # (nh, T, hs)
        scores = q.transpose(1, 0, 2) @ cache.keys[layer, :, :, :end] * np.float32(1.0 / math.sqrt(size))  # (nh, T, S)
        if T > 1:  # causal mask; a single new token attends to everything
            future = np.arange(end) > np.arange(start, end)[:, None]  # (T, S)
            scores = np.where(future, np.float32(-np.inf), scores)
        pattern = at(name + "hook_pattern", softmax(at(name + "hook_attn_scores", scores)))  # (nh, T, S)
        z = (pattern @ cache.values[layer, :, :end]).transpose(1, 0, 2)  # (nh, T, hs) -> (T, nh, hs)
        y = at(name + "hook_z", z).reshape(T, C)
        return at(f"blocks.{layer}.hook_attn_out", y @ w["attn.c_proj.weight"] + w["attn.c_proj.bias"])  # (T, C)

    def _mlp(self, x: Array, w: Mapping[str, Array], block: str, at: "_At") -> Array:
        hidden = at(block + "mlp.hook_pre", x @ w["mlp.c_fc.weight"] + w["mlp.c_fc.bias"])  # (T, 4C)
        hidden = at(block + "mlp.hook_post", self.act(hidden))
        return at(block + "hook_mlp_out", hidden @ w["mlp.c_proj.weight"] + w["mlp.c_proj.bias"])  # (T, C)


_At = Callable[[str, Array], Array]


def _hook_caller(hook: Hook | None, position: int) -> _At:
    """A function that passes an activation through the hook."""
    if hook is None:
        return lambda _name, x: x

    def at(name: str, x: Array) -> Array:
        replaced = hook(x, HookPoint(name, position))
        if replaced is None:
            return x
        if np.shape(replaced) != x.shape:
            raise ValueError(f"the hook of {name} returned the shape {np.shape(replaced)}, not {x.shape}")
        return np.asarray(replaced, np.float32)

    return at
