"""explain() and its JSON form equal the activations of the model."""

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
from helpers.models import tiny_config, tiny_model, to_numpy_model
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.errors import UsageError
from inkhorn.inference.explain import MAX_POSITIONS, Explanation, explain
from inkhorn.inference.numpy_model import Array, HookPoint, KVCache, NumpyModel, softmax
from inkhorn.inference.vectors import MAX_VECTORS, NUM_LOGITS
from inkhorn.tokenizer.bpe import train_bpe
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.tokenizer.load import load_tokenizer

TOKENIZER = CharTokenizer("abcdef .\né")
BYTES = train_bpe([""], 257)  # one token per byte
KINDS = ["gpt2", "openai-gpt"]


def tiny(kind: str = "gpt2", **changes: Any) -> NumpyModel:
    shape: dict[str, Any] = {
        "vocab_size": TOKENIZER.vocab_size + 3,
        "block_size": 40,
        "model_type": kind,
    }  # some padding
    return to_numpy_model(tiny_model(tiny_config(**(shape | changes))))


def explain_text(model: NumpyModel, text: str, layer: int = 0) -> Explanation:
    return explain(model, TOKENIZER, TOKENIZER.encode(text).tolist(), layer)


def forward_traced(model: NumpyModel, text: str) -> tuple[Any, dict[str, Array]]:
    trace: dict[str, Array] = {}

    def record(x: Array, point: HookPoint) -> None:
        trace[point.name] = x

    return model.forward(TOKENIZER.encode(text).tolist(), KVCache(model.config), record, all_logits=True), trace


def unpack(encoded: dict[str, Any], head: int, t: int) -> Any:
    """Decode a row of attention as the web page does."""
    packed, size = np.frombuffer(base64.b64decode(encoded["attention"]), np.uint8), len(encoded["tokens"])
    start = head * size * (size + 1) // 2 + t * (t + 1) // 2
    row = packed[start : start + t + 1].astype(np.float64)
    return row / row.sum()


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text("abcdef .\né", min_size=1, max_size=30), layer=st.integers(0, 1))
def test_attention(kind: str, text: str, layer: int) -> None:
    model = tiny(kind)
    encoded = explain_text(model, text, layer).to_json()
    expected = forward_traced(model, text)[1][f"blocks.{layer}.attn.hook_pattern"]
    for head in range(model.config.n_head):
        for t in range(len(text)):
            row = unpack(encoded, head, t)
            assert math.isclose(row.sum(), 1.0)
            np.testing.assert_allclose(row, expected[head, t, : t + 1], atol=2 / 255)


@pytest.mark.parametrize("kind", KINDS)
def test_last_lens_equals_the_model(kind: str) -> None:
    model, text = tiny(kind), "abc def.\néfed"
    logits, _ = forward_traced(model, text)
    logprob, found = softmax(logits), explain_text(model, text)
    ids = TOKENIZER.encode(text)
    np.testing.assert_array_equal(found.lens_tokens[-1], logprob.argmax(-1))
    np.testing.assert_allclose(found.lens_probs[-1], logprob.max(-1), rtol=1e-6)
    np.testing.assert_allclose(found.lens_target_probs[-1][:-1], logprob[np.arange(len(ids) - 1), ids[1:]], rtol=1e-6)
    np.testing.assert_allclose(found.surprisal[1:], -np.log(logprob[np.arange(len(ids) - 1), ids[1:]]), rtol=1e-5)
    assert math.isnan(found.surprisal[0])
    assert found.lens_target_probs[-1][-1] == 0
    assert [p for _, p in found.next_tokens] == pytest.approx(sorted(logprob[-1].tolist(), reverse=True)[:10])


def test_early_lens() -> None:
    model, text = tiny(), "abc def."
    _, trace = forward_traced(model, text)
    for depth, stream in enumerate([trace["blocks.0.hook_resid_pre"], trace["blocks.0.hook_resid_post"]]):
        x = stream - stream.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + model.config.layer_norm_epsilon)
        logits = (x * model.weights["ln_f.weight"] + model.weights["ln_f.bias"]) @ model.head.T
        np.testing.assert_array_equal(explain_text(model, text).lens_tokens[depth], logits.argmax(-1))


def test_updates_sum_to_the_residual_stream() -> None:
    """The embedding plus the outputs of attention and MLP give the residual stream, and the RMS values are theirs."""
    model, text = tiny(), "abc def."
    _, trace = forward_traced(model, text)
    found = explain_text(model, text, 1)
    stream = trace["blocks.0.hook_resid_pre"].copy()
    for i in range(model.config.n_layer):
        for part in ("attn", "mlp"):
            out = trace[f"blocks.{i}.hook_{part}_out"]
            stream += out
            assert found.update_rms[part][i] == pytest.approx(math.sqrt((out[-1] ** 2).mean()), rel=1e-5)
        np.testing.assert_allclose(stream, trace[f"blocks.{i}.hook_resid_post"], atol=1e-5)
        np.testing.assert_allclose(found.residual_rms[i + 1], np.sqrt((stream**2).mean(-1)), rtol=1e-4)
    last = found.last_token["wte"] + found.last_token["wpe"]
    np.testing.assert_allclose(last, trace["blocks.0.hook_resid_pre"][-1], atol=1e-6)
    np.testing.assert_array_equal(found.last_token["mlp"], trace["blocks.1.mlp.hook_post"][-1])


def test_vector_encoding() -> None:
    found = explain_text(tiny(), "abc def.", 1)
    for name, encoded in found.to_json()["last"].items():
        values = encoded["scale"] * np.frombuffer(base64.b64decode(encoded["data"]), np.int8)
        np.testing.assert_allclose(
            values, found.last_token[name], atol=np.abs(found.last_token[name]).max() / 254 * 1.001
        )


@pytest.mark.parametrize("kind", KINDS)
def test_vectors(kind: str) -> None:
    """They are the model's activations, and one can compute the head's output and the probabilities from them."""
    model, text, layer, head = tiny(kind), "abc def.\néfed", 1, 1
    logits, trace = forward_traced(model, text)
    found = explain(model, TOKENIZER, TOKENIZER.encode(text).tolist(), layer, head=head)
    vectors, first = found.vectors, len(text) - MAX_VECTORS
    assert vectors is not None
    assert (vectors.first, vectors.ids) == (first, tuple(TOKENIZER.encode(text).tolist()[first:]))
    stream = trace["blocks.0.hook_resid_pre"][first:]
    np.testing.assert_allclose(vectors.wte + vectors.wpe, stream, atol=1e-6)
    scores = vectors.q @ vectors.k.T / math.sqrt(model.config.head_dim)
    pattern = trace[f"blocks.{layer}.attn.hook_pattern"][head, first:, first:]
    weights = softmax(np.where(np.tri(MAX_VECTORS), scores, -np.inf))
    np.testing.assert_allclose(weights, pattern / pattern.sum(-1, keepdims=True), atol=1e-6)
    before = trace[f"blocks.{layer}.hook_resid_pre"][-1]
    if kind == "openai-gpt":
        before = before + trace[f"blocks.{layer}.hook_attn_out"][-1]
    np.testing.assert_allclose(vectors.norm_in, before, atol=1e-6)
    np.testing.assert_allclose(model.norm(before[None], model.blocks[layer], "ln_1")[0], vectors.norm_out, atol=1e-6)
    np.testing.assert_allclose(vectors.final @ model.head.T, logits[-1], atol=1e-5)
    probabilities = [math.exp(logit - vectors.log_sum) for _, logit in vectors.logits]
    assert probabilities == pytest.approx(sorted(softmax(logits[-1]).tolist(), reverse=True), rel=1e-4)


def test_vectors_of_the_first_tokens_give_the_heads_output() -> None:
    model, text = tiny(), "abc def"
    vectors = explain(model, TOKENIZER, TOKENIZER.encode(text).tolist(), 0, head=1).vectors
    assert vectors is not None
    scores = vectors.q @ vectors.k.T / math.sqrt(model.config.head_dim)
    output = softmax(np.where(np.tri(len(text)), scores, -np.inf)) @ vectors.v
    np.testing.assert_allclose(output, forward_traced(model, text)[1]["blocks.0.attn.hook_z"][:, 1], atol=1e-5)
    numbers = [x for row in vectors.to_json()["q"] for x in row]
    np.testing.assert_allclose(numbers, vectors.q.ravel(), atol=6e-5)


def test_vectors_have_a_bounded_size() -> None:
    found = explain(tiny(block_size=300), TOKENIZER, TOKENIZER.encode("abc def" * 40).tolist(), 0, head=0).to_json()
    assert len(found["vectors"]["q"]) == MAX_VECTORS
    assert len(found["vectors"]["logits"]) <= NUM_LOGITS
    wide = tiny(vocab_size=300)
    assert len(explain(wide, TOKENIZER, [1], 0, head=0).to_json()["vectors"]["logits"]) == NUM_LOGITS


def test_long_text() -> None:
    text = "abcdef " * 10
    found = explain_text(tiny(), text)
    assert (found.start, len(found.tokens), "".join(found.tokens)) == (30, 40, text[-40:])
    assert found.to_json() | {"start": 0} == explain_text(tiny(), text[-40:]).to_json()
    wide = tiny(block_size=300)
    assert len(explain_text(wide, text * 5).tokens) == MAX_POSITIONS


@given(text=st.text(st.sampled_from("ab é…字🎭\n"), min_size=1, max_size=90))
def test_tokens_are_the_end_of_the_text(text: str) -> None:
    """Also where a token ends within a character, and where the first characters are left out."""
    model = to_numpy_model(tiny_model(tiny_config(vocab_size=BYTES.vocab_size, block_size=40)))
    found = explain(model, BYTES, BYTES.encode(text).tolist(), 0)
    joined = "".join(found.tokens)
    assert text.endswith(joined)
    assert joined == text or found.start > 0
    assert len(found.tokens) == min(40, len(text.encode()))


def test_invalid_arguments() -> None:
    for layer in (-1, 2):
        with pytest.raises(UsageError, match=f"layer must be from 0 to 1, not {layer}"):
            explain_text(tiny(), "ab", layer)
    for head in (-1, 2):
        with pytest.raises(UsageError, match=f"head must be from 0 to 1, not {head}"):
            explain(tiny(), TOKENIZER, [1], 0, head=head)
    with pytest.raises(UsageError, match="nothing to explain"):
        explain(tiny(), TOKENIZER, [], 0)


def test_json_size() -> None:
    folder = resolve_checkpoint("shakespeare")
    tokenizer, model = load_tokenizer(folder), NumpyModel.from_pretrained(folder)
    ids = tokenizer.encode("To be, or not to be, that is the question:\n" * 30).tolist()
    encoded = explain(model, tokenizer, ids, 3).to_json()
    assert len(encoded["tokens"]) == MAX_POSITIONS
    assert len(json.dumps(encoded)) < 500_000
