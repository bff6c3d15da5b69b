"""Importance equals the difference that interventions make; direct attributions add up to the logit."""

from typing import Any

import numpy as np
import pytest
from helpers.models import tiny_config, tiny_model, to_numpy_model

from inkhorn.errors import UsageError
from inkhorn.inference.edits import Edit, Edits, Site
from inkhorn.inference.numpy_model import NumpyModel
from inkhorn.inference.run import run
from inkhorn.inspection import importance as importance_module
from inkhorn.inspection.attribution import attribution
from inkhorn.inspection.importance import importance

KINDS = ["gpt2", "openai-gpt"]
OTHER = Edits(
    (
        Edit(Site.MLP_OUT, 0, 0, 0.5),
        Edit(Site.ATTN_OUT, 1, 0, 1.5),
        Edit(Site.RESID, 1, 0, 1.0, np.ones(16, np.float32).tobytes(), 4, 7),
        Edit(Site.RESID, 2, 0, 1.0, np.full(16, 0.3, np.float32).tobytes()),
    )
)


def model_of(kind: str, **changes: Any) -> NumpyModel:
    return to_numpy_model(tiny_model(tiny_config(model_type=kind, n_layer=3, block_size=20, **changes), seed=2))


def tokens(count: int) -> list[int]:
    ids: list[int] = np.random.default_rng(count).integers(17, size=count).tolist()
    return ids


def log_probability(model: NumpyModel, ids: list[int], edits: tuple[Edit, ...]) -> float:
    """Of the last token, by its definition."""
    logits = run(model, ids[:-1], edits=Edits(edits)).logits[-1].astype(np.float64)
    return float(logits[ids[-1]] - np.log(np.exp(logits).sum()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("edits", [None, OTHER], ids=["plain", "beside other changes"])
@pytest.mark.parametrize(("length", "ablated"), [(9, 64), (20, 6), (2, 64)])
def test_effects_are_those_of_interventions(
    monkeypatch: pytest.MonkeyPatch, kind: str, edits: Edits | None, length: int, ablated: int
) -> None:
    monkeypatch.setattr(importance_module, "NUM_ABLATED", ablated)
    model, ids, given = model_of(kind), tokens(length), () if edits is None else edits.edits
    found = importance(model, ids, edits)
    base, first = log_probability(model, ids, given), max(0, length - 1 - ablated)
    assert found.logprob == pytest.approx(base, abs=1e-4)

    def effect(site: Site, layer: int, head: int = 0) -> float:
        return log_probability(model, ids, (*given, Edit(site, layer, head, 0.0, None, first))) - base

    layers = range(3)
    heads = [[effect(Site.HEAD_OUT, layer, head) for head in range(2)] for layer in layers]
    np.testing.assert_allclose(found.heads, heads, atol=1e-4)
    np.testing.assert_allclose(found.attn, [effect(Site.ATTN_OUT, layer) for layer in layers], atol=1e-4)
    np.testing.assert_allclose(found.mlp, [effect(Site.MLP_OUT, layer) for layer in layers], atol=1e-4)
    assert np.abs(found.heads).max() > 1e-2


def test_a_long_text_is_cut_to_the_context() -> None:
    model, ids = model_of("gpt2"), tokens(30)
    np.testing.assert_array_equal(importance(model, ids).heads, importance(model, ids[-21:]).heads)
    assert attribution(model, ids).total == attribution(model, ids[-21:]).total


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("edits", [None, OTHER], ids=["plain", "beside other changes"])
def test_shares_add_up_to_the_logit(tied: bool, edits: Edits | None) -> None:
    model, ids = model_of("gpt2", tie_word_embeddings=tied), tokens(12)
    if edits is not None:  # a vector that is added to the stream is no part of the model
        edits = Edits(tuple(edit for edit in edits if edit.site == Site.MLP_OUT))
    logits = run(model, ids[:-1], edits=edits).logits[-1].astype(np.float64)
    found = attribution(model, ids, edits)
    assert found.total == pytest.approx(logits[ids[-1]] - logits.mean(), abs=1e-5)
    parts = found.heads.sum() + found.attn_bias.sum() + found.mlp.sum()
    assert parts + found.embedding + found.position + found.bias == pytest.approx(found.total, abs=1e-4)


def test_a_share_is_the_loss_of_the_logit_without_the_part() -> None:
    """With the scale of the last LayerNorm fixed, removing a part from the stream removes its share."""
    model, ids = model_of("gpt2"), tokens(8)
    result, found = run(model, ids[:-1]), attribution(model, ids)
    stream = result["blocks.2.hook_resid_post"][-1].astype(np.float64)
    scale = np.sqrt(((stream - stream.mean()) ** 2).mean() + model.config.layer_norm_epsilon)
    direction = model.head[ids[-1]] - model.head.mean(0)

    def logit(x: Any) -> float:
        return float(((x - x.mean()) / scale * model.weights["ln_f.weight"] + model.weights["ln_f.bias"]) @ direction)

    for layer in range(3):
        without = stream - result[f"blocks.{layer}.hook_mlp_out"][-1]
        assert found.mlp[layer] == pytest.approx(logit(stream) - logit(without), abs=1e-4)
        z, weight = result[f"blocks.{layer}.attn.hook_z"][-1], model.weights[f"h.{layer}.attn.c_proj.weight"]
        without = stream - z[0] @ weight[: len(z[0])]
        assert found.heads[layer, 0] == pytest.approx(logit(stream) - logit(without), abs=1e-4)


def test_errors() -> None:
    with pytest.raises(UsageError, match="at least two tokens"):
        importance(model_of("gpt2"), [1])
    with pytest.raises(UsageError, match="at least two tokens"):
        attribution(model_of("gpt2"), [1])
    with pytest.raises(UsageError, match="needs a GPT-2"):
        attribution(model_of("openai-gpt"), [1, 2])
