import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.models import linear_names, tiny_config, tiny_model
from torch import nn

from inkhorn.config.recipes import RECIPES
from inkhorn.config.train import TrainConfig
from inkhorn.model import GPT
from inkhorn.training.optim import Muon, assert_partition, make_optimizers, orthogonalize

MUON = TrainConfig(optimizer="muon", lr=0.01, muon_lr=0.02, weight_decay=0.1)
ADAMW = replace(MUON, optimizer="adamw")


def matrix_with(
    singular_values: torch.Tensor, rows: int, cols: int, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A matrix U S V^T, and its U and V."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.linalg.qr(torch.randn(rows, len(singular_values), generator=generator)).Q
    v = torch.linalg.qr(torch.randn(cols, len(singular_values), generator=generator)).Q
    return u @ singular_values.diag() @ v.T, u, v


# Newton-Schulz


@pytest.mark.parametrize(("rows", "cols"), [(16, 16), (48, 16), (16, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonalize_singular_values(rows: int, cols: int, dtype: torch.dtype) -> None:
    values = torch.logspace(0, -1.5, 16)  # a condition number of 32
    matrix, u, v = matrix_with(values, rows, cols)
    for size in (1e-6, 1.0, 1e6):  # how large the gradient is does not matter
        result = orthogonalize(size * matrix[None], dtype=dtype)[0]
        assert result.dtype == dtype
        assert result.shape == (rows, cols)
        turned = u.T @ result.float() @ v  # diagonal, if the singular vectors were kept
        assert turned.diagonal().min() > 0.6
        assert turned.diagonal().max() < 1.3
        off_diagonal = turned - turned.diagonal().diag()
        assert off_diagonal.abs().max() < (1e-3 if dtype == torch.float32 else 0.08)


def test_orthogonalize_batch() -> None:
    batch = (
        torch.randn(5, 6, 9, generator=torch.Generator().manual_seed(1))
        * torch.tensor([1e-3, 1, 10, 100, 1e4])[:, None, None]
    )
    together = orthogonalize(batch, dtype=torch.float32)
    for matrix, result in zip(batch, together, strict=True):
        torch.testing.assert_close(orthogonalize(matrix[None], dtype=torch.float32)[0], result, atol=1e-5, rtol=0)
    torch.testing.assert_close(orthogonalize(batch.mT, dtype=torch.float32), together.mT, atol=1e-5, rtol=0)


def test_zero_gradient_is_no_update() -> None:
    assert not orthogonalize(torch.zeros(2, 4, 8)).any()


# Muon


def one_step(weight: torch.Tensor, gradient: torch.Tensor, parts: int, **options: Any) -> torch.Tensor:
    """Muon's first update of a weight."""
    parameter = nn.Parameter(weight.clone())
    optimizer = Muon([{"params": [parameter], "parts": parts}], dtype=torch.float32, **options)
    parameter.grad = gradient.clone()
    optimizer.step()
    return parameter.detach() - weight


def test_muon_splits_fused_qkv() -> None:
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(3 * 32, 32, generator=generator)
    scaled = torch.cat([s * g for s, g in zip((10.0, 1.0, 0.1), gradient.chunk(3), strict=True)])
    zero = torch.zeros(96, 32)
    apart = [update.norm().item() for update in one_step(zero, scaled, parts=3).chunk(3)]
    assert max(apart) / min(apart) < 1.1
    fused = [update.norm().item() for update in one_step(zero, scaled, parts=1).chunk(3)]
    assert max(fused) / min(fused) > 5  # what treating c_attn as one matrix would do
    # Each part equals its own separate update.
    alone = torch.cat([one_step(zero[:32], g, parts=1) for g in scaled.chunk(3)])
    torch.testing.assert_close(one_step(zero, scaled, parts=3), alone, atol=1e-5, rtol=1e-3)


def test_only_c_attn_is_split() -> None:
    model = tiny_model(tiny_config())
    before = copy.deepcopy(model)
    muon = make_optimizers(model, replace(MUON, weight_decay=0.0), torch.float32)[1]
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        gradient = torch.randn(parameter.shape, generator=generator)
        sizes = torch.tensor([10.0, 1.0, 0.1]).repeat_interleave(len(gradient) // 3)
        parameter.grad = gradient * sizes[:, None] if name.endswith("c_attn.weight") else gradient
    muon.step()
    for name, parameter in model.named_parameters():
        update = parameter.detach() - before.get_parameter(name)
        if name.endswith("c_attn.weight"):
            norms = [part.norm().item() for part in update.chunk(3)]
            assert max(norms) / min(norms) < 1.25, name
        elif name in linear_names(model.config):
            fan_out, fan_in = update.shape
            expected = one_step(torch.zeros_like(update), parameter.grad, parts=1)  # type: ignore[arg-type]
            torch.testing.assert_close(update, expected, atol=1e-5, rtol=1e-3)
            # lr times sqrt(out / in) where there are more outputs: its spectral norm.
            reach = 0.02 * max(1.0, fan_out / fan_in) ** 0.5
            assert 0.6 * reach < torch.linalg.matrix_norm(update, 2) < 1.3 * reach, name
        else:
            assert not update.any(), name


def test_nesterov_momentum() -> None:
    parameter = nn.Parameter(torch.zeros(4, 4))
    optimizer = Muon([{"params": [parameter]}], lr=1.0, momentum=0.9, dtype=torch.float32)
    gradients = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    buffer, expected = torch.zeros(4, 4), torch.zeros(4, 4)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
        buffer = 0.9 * buffer + 0.1 * gradient
        expected = expected - orthogonalize((0.1 * gradient + 0.9 * buffer)[None], dtype=torch.float32)[0]
    torch.testing.assert_close(parameter.detach(), expected, atol=1e-5, rtol=0)


def test_muon_without_gradient() -> None:
    with_one, without = nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3, 3))
    optimizer = Muon([{"params": [with_one, without]}], weight_decay=0.5)
    with_one.grad = torch.eye(3)
    optimizer.step()
    assert not torch.equal(with_one, torch.ones(3, 3))
    assert torch.equal(without, torch.ones(3, 3))


# Parameter groups


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("train", [MUON, ADAMW])
def test_parameter_groups(kind: Any, tied: bool, train: TrainConfig) -> None:
    model = GPT(tiny_config(model_type=kind, tie_word_embeddings=tied))
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    adamw, *others = make_optimizers(model, train)
    owned = [
        {name_of[id(p)] for group in optimizer.param_groups for p in group["params"]} for optimizer in (adamw, *others)
    ]
    matrices = {
        f"h.{i}.{name}.weight" for i in range(2) for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }
    if train.optimizer == "muon":
        assert [type(optimizer) for optimizer in others] == [Muon]
        assert owned == [set(name_of.values()) - matrices, matrices]
        parts = {name_of[id(p)]: group["parts"] for group in others[0].param_groups for p in group["params"]}
        assert {name for name, part in parts.items() if part == 3} == {
            "h.0.attn.c_attn.weight",
            "h.1.attn.c_attn.weight",
        }
        assert {group["peak_lr"] for group in others[0].param_groups} == {0.02}
    else:
        assert owned == [set(name_of.values())]
    assert type(adamw) is torch.optim.AdamW
    assert {group["peak_lr"] for group in adamw.param_groups} == {0.01}


def test_assert_partition() -> None:
    one, two = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    sgd: torch.optim.Optimizer = torch.optim.SGD([one], lr=1.0)
    both: torch.optim.Optimizer = torch.optim.SGD([one, two], lr=1.0)
    assert_partition([one, two], [both])
    assert_partition([one, two], [sgd, torch.optim.SGD([two], lr=1.0)])
    for optimizers in ([sgd], [sgd, both], [], [both, both]):
        with pytest.raises(AssertionError, match="in no optimizer group"):
            assert_partition([one, two], optimizers)
    with pytest.raises(AssertionError, match="in no optimizer group"):
        assert_partition([one], [both])


@pytest.mark.parametrize("train", [MUON, ADAMW])
def test_weight_decay_on_matrices_only(train: TrainConfig) -> None:
    model = tiny_model(tiny_config(tie_word_embeddings=False))
    before = copy.deepcopy(model)
    optimizers = make_optimizers(model, train)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
    for name, parameter in model.named_parameters():
        rate = train.muon_lr if train.optimizer == "muon" and name in linear_names(model.config) else train.lr
        kept = 1 - rate * train.weight_decay if parameter.dim() == 2 else 1.0
        torch.testing.assert_close(parameter.detach(), kept * before.get_parameter(name).detach(), msg=name)


# Convergence


def losses(model: GPT, optimizers: list[torch.optim.Optimizer], steps: int) -> list[float]:
    """Overfit one batch."""
    ids = torch.randint(17, (4, 13), generator=torch.Generator().manual_seed(2))
    found = []
    for _ in range(steps):
        loss = model(ids[:, :-1], ids[:, 1:])[1]
        assert loss is not None
        model.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
@pytest.mark.parametrize("train", [MUON, ADAMW])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_overfits_one_batch(kind: Any, train: TrainConfig, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = GPT(tiny_config(model_type=kind))
    found = losses(model, make_optimizers(model, train, dtype), 60)
    assert found[0] == pytest.approx(torch.tensor(17.0).log().item(), abs=0.1)
    assert found[-1] < found[0] / 2


def test_overfits_with_muon_only() -> None:
    """Embeddings are frozen, so AdamW cannot make up for Muon."""
    model = tiny_model(tiny_config())
    muon = make_optimizers(model, MUON, torch.float32)[1]
    found = losses(model, [muon], 150)
    assert found[-1] < 0.6 * found[0]


def test_adamw_matches_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = (GPT(tiny_config()) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    train = replace(ADAMW, beta1=0.8, beta2=0.9)
    groups = [
        {"params": [p for p in theirs.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in theirs.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, lr=0.01, betas=(0.8, 0.9), eps=1e-10)
    assert losses(ours, make_optimizers(ours, train), 8) == losses(theirs, [reference], 8)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize("name", ["shakespeare", "shakespeare-char", "tiny-shakespeare", "small", "test"])
def test_optimizers_of_all_recipes(name: str) -> None:
    recipe = RECIPES[name]
    model = GPT(replace(recipe.architecture, n_layer=1, block_size=8).to_model_config(9))
    assert [type(optimizer).__name__ for optimizer in make_optimizers(model, recipe.train)] == ["AdamW", "Muon"]
