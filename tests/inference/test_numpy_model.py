"""The NumPy forward pass equals model.py in one call and in chunks; hooks read and replace every activation."""

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
from inkhorn.inference.numpy_model import Array, HookPoint, KVCache, NumpyModel, erf, gelu, gelu_new, relu
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


def record(into: dict[str, Array]) -> Any:
    """A hook that keeps every activation."""

    def hook(x: Array, point: HookPoint) -> None:
        assert point.name not in into, "an activation is passed to the hook twice"
        into[point.name] = x

    return hook


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("before", "new"), [(0, 7), (5, 3), (6, 1)])
def test_hook_names_and_shapes(kind: str, before: int, new: int) -> None:
    model, reference = pair(model_type=kind)
    config = model.config
    ids, cache = some_ids(config, before + new), KVCache(config)
    if before:
        reference.forward(ids[:before], cache)
    found: dict[str, Array] = {}
    reference.forward(ids[before:], cache, record(found), all_logits=True)
    heads, size, total, width = config.n_head, config.head_dim, before + new, config.n_embd
    expected: dict[str, tuple[int, ...]] = {"hook_embed": (new, width), "hook_pos_embed": (new, width)}
    for i in range(config.n_layer):
        block = f"blocks.{i}."
        names = ("hook_resid_pre", "ln1.hook_normalized", "hook_attn_out", "hook_resid_mid", "ln2.hook_normalized")
        expected |= {block + name: (new, width) for name in (*names, "hook_mlp_out", "hook_resid_post")}
        expected |= {f"{block}attn.hook_{part}": (new, heads, size) for part in "qkvz"}
        expected |= {f"{block}attn.hook_{part}": (heads, new, total) for part in ("attn_scores", "pattern")}
        expected |= {f"{block}mlp.hook_{part}": (new, config.inner) for part in ("pre", "post")}
    if kind == "gpt2":
        expected["ln_final.hook_normalized"] = (new, width)
    assert {name: array.shape for name, array in found.items()} == expected
    for i in range(config.n_layer):
        pattern = found[f"blocks.{i}.attn.hook_pattern"]
        np.testing.assert_allclose(pattern.sum(-1), 1.0, rtol=0, atol=1e-6)
        for row in range(new):
            assert (pattern[:, row, before + row + 1 :] == 0).all(), "a token attends to later ones"
            assert (pattern[:, row, : before + row + 1] > 0).all()


def test_hook_values() -> None:
    """What the hooks see fits together as the definitions of the transformer say."""
    model, reference = pair()
    ids, found = some_ids(model.config, 7), dict[str, Array]()
    logits = reference.forward(ids, KVCache(model.config), record(found), all_logits=True)
    resid = found["hook_embed"] + found["hook_pos_embed"]
    np.testing.assert_allclose(resid, model.wte.weight.detach()[ids] + model.wpe.weight.detach()[:7], atol=1e-6)
    for i in range(model.config.n_layer):
        q, k, v, z = (found[f"blocks.{i}.attn.hook_{part}"] for part in "qkvz")
        scores = torch.from_numpy(np.einsum("qhd,khd->hqk", q, k)) / math.sqrt(model.config.head_dim)
        scores = scores.masked_fill(~torch.ones(7, 7).tril().bool(), -math.inf)
        np.testing.assert_allclose(found[f"blocks.{i}.attn.hook_attn_scores"], scores, rtol=0, atol=1e-5)
        pattern = found[f"blocks.{i}.attn.hook_pattern"]
        np.testing.assert_allclose(pattern, scores.softmax(-1), rtol=0, atol=1e-6)
        np.testing.assert_allclose(z, np.einsum("hqk,khd->qhd", pattern, v), rtol=0, atol=1e-5)
        block = model.get_submodule(f"h.{i}")
        np.testing.assert_array_equal(found[f"blocks.{i}.hook_resid_pre"], resid)
        resid = resid + found[f"blocks.{i}.hook_attn_out"]
        np.testing.assert_allclose(found[f"blocks.{i}.hook_resid_mid"], resid, rtol=0, atol=1e-5)
        with torch.no_grad():
            normalized = block.get_submodule("ln_2")(torch.from_numpy(resid))
            pre = block.get_submodule("mlp.c_fc")(normalized)
            out = block.get_submodule("mlp.c_proj")(torch.from_numpy(found[f"blocks.{i}.mlp.hook_post"]))
        np.testing.assert_allclose(found[f"blocks.{i}.ln2.hook_normalized"], normalized, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found[f"blocks.{i}.mlp.hook_pre"], pre, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found[f"blocks.{i}.hook_mlp_out"], out, rtol=0, atol=1e-5)
        resid = resid + found[f"blocks.{i}.hook_mlp_out"]
        np.testing.assert_allclose(found[f"blocks.{i}.hook_resid_post"], resid, rtol=0, atol=1e-5)
        resid = found[f"blocks.{i}.hook_resid_post"]
    with torch.no_grad():
        np.testing.assert_allclose(logits, model.lm_head(model.ln_f(torch.from_numpy(resid))), rtol=0, atol=1e-5)


def test_a_hook_that_changes_nothing_is_bit_identical() -> None:
    model, reference = pair()
    ids = some_ids(model.config, 9)
    plain = reference.forward(ids, KVCache(model.config))
    np.testing.assert_array_equal(reference.forward(ids, KVCache(model.config), lambda _x, _point: None), plain)
    np.testing.assert_array_equal(reference.forward(ids, KVCache(model.config), lambda x, _point: x), plain)


def test_every_hook_can_replace_its_activation() -> None:
    model, reference = pair()
    ids = some_ids(model.config, 6)
    plain, names = reference.forward(ids, KVCache(model.config)), dict[str, Array]()
    reference.forward(ids, KVCache(model.config), record(names))
    for name in names:

        def reverse(x: Array, point: HookPoint, name: str = name) -> Array | None:
            return x[..., ::-1] * 1.5 if point.name == name else None

        changed = reference.forward(ids, KVCache(model.config), reverse)
        assert np.abs(changed - plain).max() > 1e-4, name


def test_a_hook_with_another_shape_is_an_error() -> None:
    model, reference = pair()
    with pytest.raises(ValueError, match=r"hook_embed returned the shape \(1, 16\), not \(3, 16\)"):
        reference.forward([1, 2, 3], KVCache(model.config), lambda x, _point: x[:1])


def test_activations() -> None:
    x = np.concatenate([np.linspace(-12, 12, 4001), [0.0, -0.0, 1e-30, -1e-30, 40.0, -40.0]]).astype(np.float32)
    exact = np.array([math.erf(value) for value in x])
    assert np.abs(erf(x) - exact).max() < 4e-7
    wide = torch.from_numpy(x).double()
    for ours, theirs in ((gelu_new, F.gelu(wide, approximate="tanh")), (gelu, F.gelu(wide)), (relu, F.relu(wide))):
        got = ours(x)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, theirs.numpy(), rtol=2e-6, atol=1e-6)
