"""A look inside: what the model attends to, what each layer would say, and how surprised it is.

All numbers come from one forward pass of the reference. The wire has 8 bits for what is only looked at, so that a whole
layer of 256 positions stays below half a megabyte.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inkhorn.errors import require
from inkhorn.inference.numpy_model import Array, Cache, ReferenceModel, Trace, softmax
from inkhorn.tokenizer.base import Tokenizer

MAX_POSITIONS = 256
"""of a text, its last ones: a layer's attention grows with their square"""
LIKELIEST = 10


@dataclass(frozen=True, eq=False)
class Explanation:
    """What goes on inside a model, over the last T tokens of a text. L = n_layer, nh = n_head.

    Attributes:
        tokens: T texts.
        start: how many tokens came before the first of them, and were not looked at.
        layer: whose attention and MLP.
        attention: (nh, T, T), of the layer: row t says how much token t takes from each up to itself; adds up to 1.
        surprise: (T,), -ln p(token | those before), NaN for the first.
        next: the likeliest tokens after the last one, with their probabilities.
        lens_tokens: (L + 1, T) ids: the likeliest next token, if the residual stream after so many blocks went to the
            last normalisation and the head at once (the logit lens, nostalgebraist 2020). GPT-1 has no last
            normalisation, and its stream is normalised after every block: there it goes to the head as it is.
        lens_odds: (L + 1, T), their probabilities.
        lens_actual: (L + 1, T), the probability of the token that does follow; 0 for the last.
        residual: (L + 1, T), root mean square of the residual stream after so many blocks.
        added: for "attn" and "mlp", (L,): root mean square of what each adds to the last token's stream.
        last: of the last token: its rows "wte" and "wpe" (C,), and "mlp" (4C,): the layer's MLP after its activation.

    """

    tokens: tuple[str, ...]
    start: int
    layer: int
    attention: Array
    surprise: Array
    next: tuple[tuple[str, float], ...]
    texts: Sequence[str]
    lens_tokens: Array
    lens_odds: Array
    lens_actual: Array
    residual: Array
    added: dict[str, Array]
    last: dict[str, Array]

    def to_json(self) -> dict[str, Any]:
        """For the wire. Attention comes as lower triangles, byte by byte: a weight is its byte over its row's sum."""
        layers, (heads, size, _) = len(self.added["mlp"]), self.attention.shape
        within = np.tril_indices(size)
        largest = self.attention.max(-1, keepdims=True)  # becomes 255, so that no row is all zeros
        scaled = np.rint(self.attention / largest * 255)
        return {
            "tokens": list(self.tokens),
            "start": self.start,
            "n_layer": layers,
            "n_head": heads,
            "layer": self.layer,
            "attention": _bytes(np.stack([head[within] for head in scaled])),
            "surprise": [None, *np.round(self.surprise[1:], 3).tolist()],
            "next": [[text, round(odds, 4)] for text, odds in self.next],
            "lens": {
                "tokens": [[self.texts[token] for token in row] for row in self.lens_tokens],
                "probs": _bytes(np.rint(self.lens_odds * 255)),
                "actual": _bytes(np.rint(self.lens_actual * 255)),
            },
            "residual": np.round(self.residual.astype(np.float64), 3).tolist(),
            "added": {name: np.round(values.astype(np.float64), 3).tolist() for name, values in self.added.items()},
            "last": {name: _vector(values) for name, values in self.last.items()},
        }


def explain(model: ReferenceModel, tokenizer: Tokenizer, ids: Sequence[int], layer: int) -> Explanation:
    """Look inside at the end of a text.

    Args:
        model: whose.
        tokenizer: its own.
        ids: the text's tokens, of which the last MAX_POSITIONS are looked at, and no more than fit the block.
        layer: whose attention and MLP, from 0.

    Raises UsageError for a layer that is not there, or no tokens.

    """
    config, weights = model.config, model.weights
    require(0 <= layer < config.n_layer, f"layer must be from 0 to {config.n_layer - 1}, not {layer}")
    require(len(ids) > 0, "there is nothing to look at: give at least one token")
    size = min(len(ids), MAX_POSITIONS, config.block_size)
    start = len(ids) - size
    seen = np.array(ids[start:])
    trace: Trace = {}
    logits = model.forward(seen.tolist(), Cache(config), trace, every=True)  # (T, V)
    texts = [token.decode("utf-8", "replace") for token in tokenizer.token_bytes]
    texts += [""] * (config.vocab_size - len(texts))
    streams = [trace["embedding"], *(trace[f"h.{i}.resid"] for i in range(config.n_layer))]  # (T, C) each
    # The last stream's odds are the model's own, from its own logits.
    odds = [softmax(model.lens(stream)) for stream in streams[:-1]] + [softmax(logits)]  # (T, V) each
    following = [np.append(row[np.arange(size - 1), seen[1:]], 0.0) for row in odds]  # (T,) each
    surprise = np.full(size, np.nan)
    with np.errstate(divide="ignore"):
        surprise[1:] = np.minimum(-np.log(following[-1][:-1]), 999.0)
    likeliest = np.argsort(-odds[-1][-1], kind="stable")[:LIKELIEST]

    def added(part: str) -> Array:
        return np.array([_size(trace[f"h.{i}.{part}.out"][-1]) for i in range(config.n_layer)])

    return Explanation(
        tokens=tuple(texts[token] for token in seen),
        start=start,
        layer=layer,
        attention=trace[f"h.{layer}.attn.weights"],
        surprise=surprise,
        next=tuple((texts[token], float(odds[-1][-1, token])) for token in likeliest),
        texts=texts,
        lens_tokens=np.stack([row.argmax(-1) for row in odds]),
        lens_odds=np.stack([row.max(-1) for row in odds]),
        lens_actual=np.stack(following),
        residual=np.stack([_size(stream) for stream in streams]),
        added={"attn": added("attn"), "mlp": added("mlp")},
        last={
            "wte": weights["wte.weight"][seen[-1]],
            "wpe": weights["wpe.weight"][size - 1],
            "mlp": trace[f"h.{layer}.mlp.hidden"][-1],
        },
    )


def _size(x: Array) -> Array:
    """Root mean square over the last axis."""
    return np.sqrt((x * x).mean(-1))


def _bytes(values: Array) -> str:
    return base64.b64encode(values.astype(np.uint8).tobytes()).decode()


def _vector(values: Array) -> dict[str, Any]:
    """Numbers as whole ones within +-127, times a scale."""
    scale = float(np.abs(values).max()) / 127 or 1.0
    data = base64.b64encode(np.rint(values / scale).astype(np.int8).tobytes()).decode()
    return {"scale": scale, "data": data}
