"""The forward pass in NumPy, with a key-value cache and, on request, every activation by name.

It is the reference for faster backends, the backend where there is no compiler, and the source of explanations. In the
comments T is the number of new tokens, S of all tokens so far, C = n_embd, nh = n_head, hs = C / nh, V = vocab_size.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inkhorn.checkpoint.weights import read_config, read_weights
from inkhorn.config.model import ModelConfig

Array = np.ndarray[Any, Any]  # always float32; NumPy's stubs lose that in a product with a Python number
Trace = dict[str, Array]


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
        self, ids: Sequence[int], cache: KVCache, trace: Trace | None = None, *, all_logits: bool = False
    ) -> Array:
        """Compute tokens that follow those in the cache.

        Args:
            ids: T token ids, at least one.
            cache: the sequence's cache; grows by T.
            trace: if given, filled with every activation by name: `h.0.attn.weights` (nh, T, S), `h.0.resid` (T, C) ...
            all_logits: return logits for each token instead of only the last.

        Returns:
            Logits (T, V), or (1, V) for the last token only.

        Raises:
            ValueError: the cache cannot hold T more tokens.
        """
        start, end = cache.length, cache.length + len(ids)
        if end > self.config.block_size:
            raise ValueError(f"{end} tokens exceed the block size of {self.config.block_size}")
        keep, trace = trace is not None, {} if trace is None else trace
        x: Array = self.weights["wte.weight"][list(ids)] + self.weights["wpe.weight"][start:end]  # (T, C)
        trace["embedding"] = x
        for i, w in enumerate(self.blocks):
            name = f"h.{i}"
            if self.config.pre_norm:
                x = x + self._attention(self._norm(x, w, "ln_1"), i, cache, trace)  # (T, C)
                x = x + self._mlp(self._norm(x, w, "ln_2"), w, name, trace)
            else:
                x = self._norm(x + self._attention(x, i, cache, trace), w, "ln_1")
                x = self._norm(x + self._mlp(x, w, name, trace), w, "ln_2")
            trace[f"{name}.resid"] = x
            if not keep:
                trace.clear()  # otherwise a large model would hold the attention weights of all layers
        cache.length = end
        logits = self.compute_logits(x if all_logits else x[-1:])  # (T or 1, V)
        trace["logits"] = logits
        return logits

    def compute_logits(self, x: Array) -> Array:
        """Final LayerNorm (GPT-2) and output head: (T, C) -> (T, V)."""
        if self.config.pre_norm:
            x = self._norm(x, self.weights, "ln_f")
        logits: Array = x @ self.head.T  # (T, V)
        return logits

    def _norm(self, x: Array, weights: Mapping[str, Array], name: str) -> Array:
        return layer_norm(x, weights[name + ".weight"], weights[name + ".bias"], self.config.layer_norm_epsilon)

    def _attention(self, x: Array, layer: int, cache: KVCache, trace: Trace) -> Array:
        w, (T, C) = self.blocks[layer], x.shape
        heads, size = self.config.n_head, self.config.head_dim
        start, end = cache.length, cache.length + T
        qkv = x @ w["attn.c_attn.weight"] + w["attn.c_attn.bias"]  # (T, 3C)
        q, k, v = qkv.reshape(T, 3, heads, size).transpose(1, 2, 0, 3)  # three of (nh, T, hs)
        cache.keys[layer, :, :, start:end] = k.transpose(0, 2, 1)  # (nh, hs, T)
        cache.values[layer, :, start:end] = v  # (nh, T, hs)
        scores = q @ cache.keys[layer, :, :, :end] * np.float32(1.0 / math.sqrt(size))  # (nh, T, S)
        if T > 1:  # causal mask; a single new token attends to everything
            future = np.arange(end) > np.arange(start, end)[:, None]  # (T, S)
            scores = np.where(future, np.float32(-np.inf), scores)
        attention = softmax(scores)  # (nh, T, S)
        y = (attention @ cache.values[layer, :, :end]).transpose(1, 0, 2).reshape(T, C)  # (nh, T, hs) -> (T, C)
        out: Array = y @ w["attn.c_proj.weight"] + w["attn.c_proj.bias"]  # (T, C)
        trace[f"h.{layer}.attn.q"], trace[f"h.{layer}.attn.k"], trace[f"h.{layer}.attn.v"] = q, k, v
        trace[f"h.{layer}.attn.weights"], trace[f"h.{layer}.attn.out"] = attention, out
        return out

    def _mlp(self, x: Array, w: Mapping[str, Array], name: str, trace: Trace) -> Array:
        hidden = self.act(x @ w["mlp.c_fc.weight"] + w["mlp.c_fc.bias"])  # (T, 4C)
        out: Array = hidden @ w["mlp.c_proj.weight"] + w["mlp.c_proj.bias"]  # (T, C)
        trace[f"{name}.mlp.hidden"], trace[f"{name}.mlp.out"] = hidden, out
        return out
