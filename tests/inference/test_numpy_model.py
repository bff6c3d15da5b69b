"""The NumPy forward pass equals model.py in one call and in chunks; its trace names every activation."""

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.models import tiny_config, tiny_model, to_numpy_model
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.config.model import Activation, ModelConfig, ModelType
from inkhorn.inference.numpy_model import KVCache, NumpyModel, Trace, erf, gelu, gelu_new, relu
from inkhorn.model import GPT

KINDS = get_args(ModelType)
SHAPES = [
    {},
    {"n_layer": 1, "n_head": 1, "n_embd": 8, "block_size": 1},
    {"n_layer": 3, "n_head": 4, "n_embd": 32, "block_size": 20, "vocab_size": 5},
    {"n_inner": 24, "n_head": 8, "layer_norm_epsilon": 1e-2},
]


def pair(seed: int = 0, **changes: Any) -> tuple[GPT, NumpyModel]:
    model = tiny_model(tiny_config(**changes), seed)
    return model, to_numpy_model(model)


def some_ids(config: ModelConfig, length: int, seed: int = 0) -> list[int]:
    ids: list[int] = np.random.default_rng(seed).integers(config.vocab_size, size=length).tolist()
    return ids


def torch_logits(model: GPT, ids: list[int]) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        logits: np.ndarray[Any, Any] = model(torch.tensor([ids]))[0][0].numpy()
    return logits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=["tiny", "smallest", "deep", "narrow MLP"])
def test_logits_equal_torch(kind: str, activation: str, tied: bool, shape: dict[str, Any]) -> None:
    model, reference = pair(model_type=kind, activation_function=activation, tie_word_embeddings=tied, **shape)
    for length in range(1, model.config.block_size + 1):
        ids = some_ids(model.config, length, seed=length)
        expected = torch_logits(model, ids)
        logits = reference.forward(ids, KVCache(model.config), all_logits=True)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
        last = reference.forward(ids, KVCache(model.config))
        assert last.shape == (1, model.config.vocab_size)
        np.testing.assert_allclose(last[0], expected[-1], rtol=0, atol=1e-5)


def test_every_weight_changes_the_logits() -> None:
    """A change of any weight changes the logits, so the tests above cover the whole forward pass."""
    for kind in KINDS:
        model, _ = pair(model_type=kind, tie_word_embeddings=False)
        ids = some_ids(model.config, 6)
        before = torch_logits(model, ids)
        for name, parameter in model.named_parameters():
            if name.endswith("c_attn.bias"):
                continue  # the key bias has no effect: softmax cancels it
            with torch.no_grad():
                original = parameter.clone()
                parameter.mul_(1.5)
                assert np.abs(torch_logits(model, ids) - before).max() > 1e-3, name
                parameter.copy_(original)


@pytest.mark.parametrize("kind", KINDS)
def test_cache_at_every_split(kind: str) -> None:
    model, reference = pair(model_type=kind)
    ids = some_ids(model.config, model.config.block_size)
    whole = reference.forward(ids, KVCache(model.config), all_logits=True)
    for split in range(1, len(ids)):
        cache = KVCache(model.config)
        first = reference.forward(ids[:split], cache, all_logits=True)
        assert cache.length == split
        second = reference.forward(ids[split:], cache, all_logits=True)
        assert cache.length == len(ids)
        np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=12))
def test_random_chunks(kind: str, lengths: list[int]) -> None:
    model, reference = pair(model_type=kind)
    ids, cache, parts = some_ids(model.config, model.config.block_size), KVCache(model.config), []
    for length in lengths:
        chunk = ids[cache.length : cache.length + length]
        if chunk:
            parts.append(reference.forward(chunk, cache, all_logits=True))
    whole = reference.forward(ids[: cache.length], KVCache(model.config), all_logits=True)
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=1e-5)


def test_truncated_cache() -> None:
    model, reference = pair()
    ids = some_ids(model.config, 10)
    cache = KVCache(model.config)
    reference.forward(some_ids(model.config, 12, seed=9), cache)
    cache.length = 0
    reference.forward(ids[:4], cache)
    got = reference.forward(ids[4:], cache, all_logits=True)
    np.testing.assert_array_equal(got, _forward_in_two_calls(reference, ids))


def _forward_in_two_calls(reference: NumpyModel, ids: list[int]) -> np.ndarray[Any, Any]:
    cache = KVCache(reference.config)
    reference.forward(ids[:4], cache)
    return reference.forward(ids[4:], cache, all_logits=True)


def test_full_cache() -> None:
    model, reference = pair()
    block = model.config.block_size
    cache = KVCache(model.config)
    with pytest.raises(ValueError, match=f"{block + 1} tokens exceed the block size of {block}"):
        reference.forward(some_ids(model.config, block + 1), cache)
    assert cache.length == 0
    ids = some_ids(model.config, block)
    reference.forward(ids[:-1], cache)
    with pytest.raises(ValueError, match=f"{block + 1} tokens"):
        reference.forward([0, 0], cache)
    assert cache.length == block - 1
    np.testing.assert_allclose(reference.forward(ids[-1:], cache)[0], torch_logits(model, ids)[-1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("before", "new"), [(0, 7), (5, 3), (6, 1)])
def test_trace_names(kind: str, before: int, new: int) -> None:
    model, reference = pair(model_type=kind)
    config = model.config
    ids, cache = some_ids(config, before + new), KVCache(config)
    if before:
        reference.forward(ids[:before], cache)
    trace: Trace = {}
    logits = reference.forward(ids[before:], cache, trace, all_logits=True)
    heads, size, total = config.n_head, config.head_dim, before + new
    expected: dict[str, tuple[int, ...]] = {"embedding": (new, config.n_embd), "logits": (new, config.vocab_size)}
    for i in range(config.n_layer):
        expected |= {f"h.{i}.attn.{part}": (heads, new, size) for part in "qkv"}
        expected |= {f"h.{i}.attn.weights": (heads, new, total), f"h.{i}.attn.out": (new, config.n_embd)}
        expected |= {f"h.{i}.mlp.hidden": (new, config.inner), f"h.{i}.mlp.out": (new, config.n_embd)}
        expected |= {f"h.{i}.resid": (new, config.n_embd)}
    assert {name: array.shape for name, array in trace.items()} == expected
    np.testing.assert_array_equal(trace["logits"], logits)
    for i in range(config.n_layer):
        attention = trace[f"h.{i}.attn.weights"]
        np.testing.assert_allclose(attention.sum(-1), 1.0, rtol=0, atol=1e-6)
        for row in range(new):
            assert (attention[:, row, before + row + 1 :] == 0).all(), "a token attends to later ones"
            assert (attention[:, row, : before + row + 1] > 0).all()


def test_trace_values() -> None:
    model, reference = pair()
    ids, trace = some_ids(model.config, 7), Trace()
    reference.forward(ids, KVCache(model.config), trace, all_logits=True)
    resid = trace["embedding"]
    np.testing.assert_allclose(resid, model.wte.weight.detach()[ids] + model.wpe.weight.detach()[:7], atol=1e-6)
    for i in range(model.config.n_layer):
        q, k = trace[f"h.{i}.attn.q"], trace[f"h.{i}.attn.k"]
        scores = torch.from_numpy(q @ k.transpose(0, 2, 1)) / math.sqrt(model.config.head_dim)
        scores = scores.masked_fill(~torch.ones(7, 7).tril().bool(), -math.inf)
        np.testing.assert_allclose(trace[f"h.{i}.attn.weights"], scores.softmax(-1), rtol=0, atol=1e-6)
        resid = resid + trace[f"h.{i}.attn.out"] + trace[f"h.{i}.mlp.out"]
        np.testing.assert_allclose(trace[f"h.{i}.resid"], resid, rtol=0, atol=1e-5)
        with torch.no_grad():
            projection = model.get_submodule(f"h.{i}.mlp.c_proj")
            out = projection(torch.from_numpy(trace[f"h.{i}.mlp.hidden"]))
        np.testing.assert_allclose(trace[f"h.{i}.mlp.out"], out, rtol=0, atol=1e-5)
    with torch.no_grad():
        logits = model.lm_head(model.ln_f(torch.from_numpy(resid)))
    np.testing.assert_allclose(trace["logits"], logits, rtol=0, atol=1e-5)


def test_trace_is_bit_identical() -> None:
    model, reference = pair()
    ids = some_ids(model.config, 9)
    plain = reference.forward(ids, KVCache(model.config))
    np.testing.assert_array_equal(reference.forward(ids, KVCache(model.config), {}), plain)


def test_activations() -> None:
    x = np.concatenate([np.linspace(-12, 12, 4001), [0.0, -0.0, 1e-30, -1e-30, 40.0, -40.0]]).astype(np.float32)
    exact = np.array([math.erf(value) for value in x])
    assert np.abs(erf(x) - exact).max() < 4e-7
    wide = torch.from_numpy(x).double()
    for ours, theirs in ((gelu_new, F.gelu(wide, approximate="tanh")), (gelu, F.gelu(wide)), (relu, F.relu(wide))):
        got = ours(x)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, theirs.numpy(), rtol=2e-6, atol=1e-6)
