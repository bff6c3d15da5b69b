"""What happens inside the model: attention, logit lens, surprisal and residual norms over a text.

Everything comes from one forward pass of the NumPy model. The JSON form stores arrays in 8 bits, so that a layer of 256
positions stays below half a megabyte.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from inkhorn.errors import require
from inkhorn.inference import display
from inkhorn.inference.edits import Edits
from inkhorn.inference.numpy_model import Array, HookPoint, KVCache, NumpyModel, softmax
from inkhorn.inference.vectors import Vectors, read_vectors
from inkhorn.tokenizer.base import Tokenizer

if TYPE_CHECKING:
    from rich.console import Group

MAX_POSITIONS = 256
"""The last tokens of a text that are explained: the size of a layer's attention grows with their square."""
NUM_NEXT_TOKENS = 10
_LARGE = ("hook_attn_scores", "hook_pattern", "hook_pre", "hook_post")  # kept for one layer only


@dataclass(frozen=True, eq=False)
class Explanation:
    """Activations over the last T tokens of a text. L = n_layer, nh = n_head, C = n_embd.

    A notebook shows the text shaded by surprisal, the most likely next tokens, the attention of each head and the logit
    lens; `rich.print` shows the first two.

    Attributes:
        tokens: the text that each token completes; joined, they are the end of the text. A token that ends within a
            character has an empty text.
        start: how many earlier tokens were left out.
        layer: the layer of `attention` and of `last_token["mlp"]`.
        attention: (nh, T, T), of the layer: row t holds the weights of token t over the tokens up to t; sums to 1.
        surprisal: (T,), -ln p(token | those before it); NaN for the first.
        next_tokens: the most likely tokens after the last one, with their probabilities.
        vocabulary: the text of every token id.
        lens_tokens: (L + 1, T), token ids. The logit lens (nostalgebraist 2020): the most likely next token if the
            residual stream after so many blocks went to the final LayerNorm and the head. GPT-1 has no final LayerNorm,
            and normalises its stream after every block: there it goes to the head directly.
        lens_probs: (L + 1, T), their probabilities.
        lens_target_probs: (L + 1, T), the probability of the token that does follow; 0 for the last.
        residual_rms: (L + 1, T), root mean square of the residual stream after so many blocks.
        update_rms: for "attn" and "mlp", (L,): root mean square of what each adds to the last token's stream.
        last_token: of the last token: its embeddings "wte" and "wpe" (C,), and "mlp" (4C,), the layer's hidden MLP
            activations.
        vectors: of one head and of the output head, if a head was asked for.
    """

    tokens: tuple[str, ...]
    start: int
    layer: int
    attention: Array
    surprisal: Array
    next_tokens: tuple[tuple[str, float], ...]
    vocabulary: Sequence[str]
    lens_tokens: Array
    lens_probs: Array
    lens_target_probs: Array
    residual_rms: Array
    update_rms: dict[str, Array]
    last_token: dict[str, Array]
    vectors: Vectors | None = None

    def __repr__(self) -> str:
        heads, size, _ = self.attention.shape
        text = display.shorten("".join(self.tokens))
        return f"Explanation({text}, num_tokens={size}, layer={self.layer}, n_head={heads})"

    def __rich__(self) -> "Group":
        from rich.console import Group
        from rich.table import Table

        table = Table("next token", "probability", box=None)
        for token, probability in self.next_tokens:
            table.add_row(display.visible(token), display.percent(probability))
        return Group(display.shaded_text(self.tokens, (-self.surprisal).tolist()), "", table)

    def _repr_html_(self) -> str:
        rows = [(display.visible(token), display.percent(probability)) for token, probability in self.next_tokens]
        return "".join(
            [
                display.shaded_html(self.tokens, (-self.surprisal).tolist()),
                display.table_html(["next token", "probability"], rows),
                display.attention_html(self.attention, self.layer),
                display.lens_html(self.tokens, self.lens_tokens, self.lens_probs, self.vocabulary),
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """The response of the server's explain endpoint, which the web page reads.

        Attention comes as lower triangles of bytes; a weight is its byte over the sum of its row.
        """
        layers, (heads, size, _) = len(self.update_rms["mlp"]), self.attention.shape
        lower = np.tril_indices(size)
        largest = self.attention.max(-1, keepdims=True)  # becomes 255, so that no row is all zeros
        scaled = np.rint(self.attention / largest * 255)
        vectors = {} if self.vectors is None else {"vectors": self.vectors.to_json()}
        return {
            "tokens": list(self.tokens),
            "start": self.start,
            "n_layer": layers,
            "n_head": heads,
            "layer": self.layer,
            "attention": _encode_bytes(np.stack([head[lower] for head in scaled])),
            "surprisal": [None, *np.round(self.surprisal[1:], 3).tolist()],
            "next": [[text, round(probability, 4)] for text, probability in self.next_tokens],
            "lens": {
                "tokens": [[self.vocabulary[token] for token in row] for row in self.lens_tokens],
                "probs": _encode_bytes(np.rint(self.lens_probs * 255)),
                "actual": _encode_bytes(np.rint(self.lens_target_probs * 255)),
            },
            "residual_rms": np.round(self.residual_rms.astype(np.float64), 3).tolist(),
            "update_rms": {name: np.round(rms.astype(np.float64), 3).tolist() for name, rms in self.update_rms.items()},
            "last": {name: _encode_vector(values) for name, values in self.last_token.items()},
        } | vectors


def explain(
    model: NumpyModel,
    tokenizer: Tokenizer,
    token_ids: Sequence[int],
    layer: int,
    edits: Edits | None = None,
    head: int | None = None,
) -> Explanation:
    """Explain the end of a text.

    Args:
        token_ids: the text's tokens; the last MAX_POSITIONS are used, or fewer if the block size is smaller.
        layer: the layer of the attention and MLP activations, from 0.
        edits: changes to activations; the explanation shows the changed ones.
        head: a head of the layer, from 0, whose `vectors` are wanted.

    Raises:
        UsageError: there is no such layer or head, or there are no tokens.
    """
    config, weights = model.config, model.weights
    require(0 <= layer < config.n_layer, f"layer must be from 0 to {config.n_layer - 1}, not {layer}")
    if head is not None:
        require(0 <= head < config.n_head, f"head must be from 0 to {config.n_head - 1}, not {head}")
    require(len(token_ids) > 0, "there is nothing to explain: give at least one token")
    size = min(len(token_ids), MAX_POSITIONS, config.block_size)
    start = len(token_ids) - size
    ids = np.array(token_ids[start:])
    trace: dict[str, Array] = {}
    hook = None if edits is None else edits.hook(start)

    def record(x: Array, point: HookPoint) -> Array | None:
        replaced = None if hook is None else hook(x, point)
        if point.layer() in (layer, None) or not point.name.endswith(_LARGE):
            trace[point.name] = x if replaced is None else replaced
        return replaced

    logits = model.forward(ids.tolist(), KVCache(config), record, all_logits=True)  # (T, V)
    pieces = tokenizer.decode_stream(token_ids[:start])
    vocabulary = [token.decode("utf-8", "replace") for token in tokenizer.token_bytes]
    vocabulary += [""] * (config.vocab_size - len(vocabulary))
    after = [trace[f"blocks.{i}.hook_resid_post"] for i in range(config.n_layer)]
    streams = [trace["blocks.0.hook_resid_pre"], *after]  # (T, C) each
    # After the last block the lens is the model itself.
    probs = [softmax(model.compute_logits(stream)) for stream in streams[:-1]] + [softmax(logits)]  # (T, V) each
    target_probs = [np.append(row[np.arange(size - 1), ids[1:]], 0.0) for row in probs]  # (T,) each
    surprisal = np.full(size, np.nan)
    with np.errstate(divide="ignore"):
        surprisal[1:] = np.minimum(-np.log(target_probs[-1][:-1]), 999.0)
    next_ids = np.argsort(-probs[-1][-1], kind="stable")[:NUM_NEXT_TOKENS]

    vectors = None
    if head is not None:
        vectors = read_vectors(model, trace, ids.tolist(), layer, head, logits[-1], vocabulary)

    def update_rms(part: str) -> Array:
        return np.array([_rms(trace[f"blocks.{i}.hook_{part}_out"][-1]) for i in range(config.n_layer)])

    return Explanation(
        tokens=tuple(pieces(token) if token < tokenizer.vocab_size else "" for token in ids.tolist()),
        start=start,
        layer=layer,
        attention=trace[f"blocks.{layer}.attn.hook_pattern"],
        surprisal=surprisal,
        next_tokens=tuple((vocabulary[token], float(probs[-1][-1, token])) for token in next_ids),
        vocabulary=vocabulary,
        lens_tokens=np.stack([row.argmax(-1) for row in probs]),
        lens_probs=np.stack([row.max(-1) for row in probs]),
        lens_target_probs=np.stack(target_probs),
        residual_rms=np.stack([_rms(stream) for stream in streams]),
        update_rms={"attn": update_rms("attn"), "mlp": update_rms("mlp")},
        last_token={
            "wte": weights["wte.weight"][ids[-1]],
            "wpe": weights["wpe.weight"][size - 1],
            "mlp": trace[f"blocks.{layer}.mlp.hook_post"][-1],
        },
        vectors=vectors,
    )


def _rms(x: Array) -> Array:
    """Root mean square over the last axis."""
    return np.sqrt((x * x).mean(-1))


def _encode_bytes(values: Array) -> str:
    return base64.b64encode(values.astype(np.uint8).tobytes()).decode()


def _encode_vector(values: Array) -> dict[str, Any]:
    """Integers from -127 to 127 and a scale."""
    scale = float(np.abs(values).max()) / 127 or 1.0
    data = base64.b64encode(np.rint(values / scale).astype(np.int8).tobytes()).decode()
    return {"scale": scale, "data": data}
