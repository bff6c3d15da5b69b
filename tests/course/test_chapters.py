"""The exact relations between chapters: counts, shapes, and logits that must be equal."""

import math
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import inkhorn
from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.config.model import ModelConfig
from inkhorn.course.chapter import chapters
from inkhorn.course.check import load

TEXT = "To be, or not to be: that is the question.\nWhether 'tis nobler in the mind to suffer.\n"
CHARACTERS = sorted(set(TEXT))
V = len(CHARACTERS)
IDX = torch.tensor([[3, 1, 4, 1, 5], [0, 2, 6, 5, 3]])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def chapter(number: int) -> ModuleType:
    return load(chapters()[number].path)


def ids_of_text() -> Tensor:
    ids: Tensor = chapter(1).encode(TEXT, CHARACTERS)
    return ids


def model_of(number: int) -> Any:
    module = chapter(number)
    torch.manual_seed(0)
    return (module.GPT if number == 8 else module.LanguageModel)(7)


def test_counts_are_exact() -> None:
    counts = chapter(1).count_pairs(ids_of_text(), V)
    assert counts.shape == (V, V)
    assert counts.sum() == len(TEXT) - 1
    for first, second in ("be", "t ", " t", "zz"):
        found = sum(TEXT[i : i + 2] == first + second for i in range(len(TEXT) - 1))
        at = [CHARACTERS.index(c) if c in CHARACTERS else 0 for c in (first, second)]
        assert counts[at[0], at[1]] == (found if {first, second} <= set(CHARACTERS) else counts[at[0], at[1]])


def test_bigram_loss_is_the_mean_surprisal() -> None:
    module = chapter(1)
    probabilities = module.probabilities_of(module.count_pairs(ids_of_text(), V))
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(V))
    ids = ids_of_text().tolist()
    surprisal = [-math.log(probabilities[a, b]) for a, b in pairwise(ids)]
    assert module.loss_of(probabilities, ids_of_text()).item() == pytest.approx(sum(surprisal) / len(surprisal))
    assert module.loss_of(torch.full((V, V), 1 / V), ids_of_text()).item() == pytest.approx(math.log(V))
    assert len(module.generate(probabilities, 0, 20)) == 21


def test_softmax_regression_contains_the_bigram() -> None:
    """Logits of ln p give chapter 1's loss; a row of the table is its product with a one-hot vector."""
    one, two = chapter(1), chapter(2)
    ids = ids_of_text()
    probabilities = one.probabilities_of(one.count_pairs(ids, V))
    model = two.LanguageModel(V)
    with torch.no_grad():
        model.table.weight.copy_(probabilities.log())
        logits = model(ids[None, :-1])
    assert two.cross_entropy(logits, ids[None, 1:]).item() == pytest.approx(one.loss_of(probabilities, ids).item())
    assert torch.equal(logits, F.one_hot(ids[None, :-1], V).float() @ model.table.weight)


def test_cross_entropy_is_torchs() -> None:
    logits, targets = 10 * torch.randn(2, 3, 5), torch.tensor([[0, 1, 2], [3, 4, 0]])
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    assert chapter(2).cross_entropy(logits, targets).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("number", range(2, 9))
def test_shapes_and_batches(number: int) -> None:
    module, model = chapter(number), model_of(number)
    assert model(IDX).shape == (2, 5, 7)
    idx, targets = module.random_batch(torch.arange(1000))
    assert idx.shape == targets.shape == (module.batch_size, module.block_size)
    assert torch.equal(idx + 1, targets)
    written = module.generate(model, IDX, module.block_size)
    assert written.shape == (2, 5 + module.block_size)
    assert torch.equal(written[:, :5], IDX)


@pytest.mark.parametrize("number", range(3, 9))
def test_later_tokens_change_nothing_before(number: int) -> None:
    model = model_of(number)
    other = IDX.clone()
    other[:, -1] = 6
    assert torch.equal(model(IDX)[:, :-1], model(other)[:, :-1])
    assert not torch.equal(model(IDX)[:, -1], model(other)[:, -1])


def test_average_is_the_mean_so_far() -> None:
    x = torch.randn(5, 3)
    means = torch.stack([x[: t + 1].mean(dim=0) for t in range(5)])
    assert torch.allclose(chapter(3).average_weights(5) @ x, means, atol=1e-6)


def test_equal_scores_are_the_average() -> None:
    weights = chapter(4).attention_weights(torch.zeros(1, 6, 4), torch.randn(1, 6, 4))
    assert torch.allclose(weights[0], chapter(3).average_weights(6), rtol=0, atol=1e-7)


def test_attention_is_torchs() -> None:
    q, k, v = torch.randn(3, 2, 4, 6, 8)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert torch.allclose(chapter(4).attention_weights(q, k) @ v, expected, atol=1e-6)


def test_one_head_is_the_attention_of_chapter_4(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one head and a c_proj that changes nothing, all logits are equal."""
    four, five = model_of(4), chapter(5)
    monkeypatch.setattr(five, "n_head", 1)
    one_head = five.LanguageModel(7)
    parts = (four.attn.query, four.attn.key, four.attn.value)
    with torch.no_grad():
        for mine, others in ((one_head.wte, four.wte), (one_head.wpe, four.wpe), (one_head.lm_head, four.lm_head)):
            mine.weight.copy_(others.weight)
        one_head.attn.c_attn.weight.copy_(torch.cat([part.weight for part in parts]))
        one_head.attn.c_attn.bias.copy_(torch.cat([part.bias for part in parts]))
        one_head.attn.c_proj.weight.copy_(torch.eye(five.n_embd))
        one_head.attn.c_proj.bias.zero_()
    assert torch.allclose(one_head(IDX), four(IDX), atol=1e-6)


def test_heads_are_parts_of_a_token() -> None:
    x = torch.randn(2, 3, 8)
    heads = chapter(5).split_heads(x, 4)
    assert heads.shape == (2, 4, 3, 2)
    assert torch.equal(heads[:, 1], x[..., 2:4])
    assert torch.equal(heads.transpose(1, 2).flatten(2), x)


def test_residual_stream_passes_through() -> None:
    model = model_of(6)
    for layer in (model.attn.c_proj, model.mlp.c_proj):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    assert torch.equal(model(IDX), model.lm_head(model.wte(IDX) + model.wpe(torch.arange(5))))


def test_layer_norm_is_torchs() -> None:
    norm = chapter(7).LayerNorm()
    theirs = torch.nn.LayerNorm(norm.weight.numel())
    with torch.no_grad():
        for mine, other in zip(norm.parameters(), theirs.parameters(), strict=True):
            other.copy_(mine.normal_())
    x = 3 + 5 * torch.randn(2, 4, norm.weight.numel())
    assert torch.allclose(norm(x), theirs(x), atol=1e-5)


def test_chapter_7_is_one_block_of_chapter_8(monkeypatch: pytest.MonkeyPatch) -> None:
    seven, eight = model_of(7), chapter(8)
    monkeypatch.setattr(eight, "n_layer", 1)
    block = eight.GPT(7)
    inside = ("ln_1", "attn", "ln_2", "mlp")
    weights = {f"h.0.{k}" if k.startswith(inside) else k: v for k, v in seven.state_dict().items()}
    block.load_state_dict(weights)
    assert torch.allclose(block(IDX), seven(IDX), atol=1e-5)


def test_logits_of_chapter_8_are_those_of_the_model() -> None:
    module, model = chapter(8), model_of(8)
    config = ModelConfig(
        vocab_size=7,
        block_size=module.block_size,
        n_layer=module.n_layer,
        n_head=module.n_head,
        n_embd=module.n_embd,
        tie_word_embeddings=False,
    )
    reference = inkhorn.GPT(config)
    reference.load_state_dict(model.state_dict())
    assert torch.allclose(model(IDX), reference(IDX)[0], atol=1e-5)
    assert sum(p.numel() for p in model.parameters()) == config.num_parameters


def test_learning_rate_rises_and_falls() -> None:
    module = chapter(9)
    rates = [module.rate(step) for step in range(1, module.steps + 1)]
    peak = module.warmup_steps - 1
    assert rates[peak] == max(rates) == 1
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)


def test_logits_of_the_last_chapter_are_those_of_the_shipped_model() -> None:
    """Whole, and token by token with the cache."""
    module = chapter(10)
    reference = inkhorn.GPT.from_pretrained(resolve_checkpoint("shakespeare"))
    model = module.GPT(reference.config)
    model.load_state_dict(reference.state_dict())
    idx = torch.randint(reference.config.vocab_size, (2, 12))
    with torch.no_grad():
        expected = reference(idx)[0]
        assert torch.allclose(model(idx, [{} for _ in model.h]), expected, atol=1e-5, rtol=1e-5)
        caches: list[dict[str, Tensor]] = [{} for _ in model.h]
        by_token = torch.cat([model(idx[:, i : i + 1], caches) for i in range(12)], dim=1)
    assert torch.allclose(by_token, expected, atol=1e-5, rtol=1e-5)
    config = reference.config
    shape = (2, config.n_head, 12, config.n_embd // config.n_head)
    assert [tuple(cache["k"].shape) for cache in caches] == [shape] * config.n_layer
    assert torch.equal(module.generate(model, idx[:, :4], 8), module.generate_slowly(model, idx[:, :4], 8))
