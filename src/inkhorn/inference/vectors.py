"""The vectors that a reader needs to follow one head and the output head by hand, at the last tokens of a text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inkhorn.inference.numpy_model import Array, NumpyModel

MAX_VECTORS = 8
"""The last tokens whose vectors are given."""
NUM_LOGITS = 100
_DIGITS = 4  # decimals in the JSON form


@dataclass(frozen=True, eq=False)
class Vectors:
    """Vectors of the last n tokens. C = n_embd, hs = C / n_head.

    Attributes:
        head: the head of `q`, `k` and `v`, from 0.
        first: the index of the first of the n tokens among those explained.
        ids: (n,), token ids.
        wte, wpe: (n, C), token and position embeddings.
        q, k, v: (n, hs), queries, keys and values of the head.
        norm_in, norm_out: (C,), input and output of the layer's first LayerNorm at the last token. GPT-2 has it before
            the attention, GPT-1 after attention was added.
        final: (C,), what the output head reads at the last token.
        logits: the tokens with the largest logits after the last token.
        log_sum: the logarithm of the sum of exp(logit) over the vocabulary: exp(logit - log_sum) is a probability.
    """

    head: int
    first: int
    ids: tuple[int, ...]
    wte: Array
    wpe: Array
    q: Array
    k: Array
    v: Array
    norm_in: Array
    norm_out: Array
    final: Array
    logits: tuple[tuple[str, float], ...]
    log_sum: float

    def to_json(self) -> dict[str, Any]:
        """The part `vectors` of the explain endpoint's answer, which the web page reads."""
        found: dict[str, Any] = {"head": self.head, "first": self.first, "ids": list(self.ids)}
        for name in ("wte", "wpe", "q", "k", "v", "norm_in", "norm_out", "final"):
            found[name] = np.round(getattr(self, name).astype(np.float64), _DIGITS).tolist()
        found["logits"] = [[text, round(logit, _DIGITS)] for text, logit in self.logits]
        return found | {"log_sum": round(self.log_sum, _DIGITS)}


def read_vectors(
    model: NumpyModel,
    trace: Mapping[str, Array],
    ids: Sequence[int],
    layer: int,
    head: int,
    logits: Array,
    vocabulary: Sequence[str],
) -> Vectors:
    """The vectors of a forward pass.

    Args:
        trace: its activations by the names of `HookPoint`.
        ids: the T tokens.
        layer, head: from 0.
        logits: (V,), after the last token.
        vocabulary: the text of every token id.
    """
    config, n = model.config, min(len(ids), MAX_VECTORS)
    first, block = len(ids) - n, f"blocks.{layer}."
    before = trace[block + "hook_resid_pre"][-1]
    if not config.pre_norm:
        before = before + trace[block + "hook_attn_out"][-1]
    last = f"blocks.{config.n_layer - 1}.hook_resid_post"
    largest = np.argsort(-logits, kind="stable")[:NUM_LOGITS]
    top = float(logits.max())
    return Vectors(
        head=head,
        first=first,
        ids=tuple(ids[first:]),
        wte=model.weights["wte.weight"][list(ids[first:])],
        wpe=model.weights["wpe.weight"][first : len(ids)],
        q=trace[block + "attn.hook_q"][first:, head],
        k=trace[block + "attn.hook_k"][first:, head],
        v=trace[block + "attn.hook_v"][first:, head],
        norm_in=before,
        norm_out=trace[block + "ln1.hook_normalized"][-1],
        final=trace["ln_final.hook_normalized" if config.pre_norm else last][-1],
        logits=tuple((vocabulary[token], float(logits[token])) for token in largest),
        log_sum=top + float(np.log(np.exp(logits.astype(np.float64) - top).sum())),
    )
