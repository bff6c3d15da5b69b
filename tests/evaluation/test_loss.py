"""The loss of a text does not depend on batching; memory is bounded."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from helpers.models import tiny_config, tiny_model

from inkhorn.config.recipes import RECIPES
from inkhorn.data.dataset import Array
from inkhorn.evaluation import loss
from inkhorn.evaluation.loss import bits, max_rows, split_loss
from inkhorn.hardware.device import Hardware
from inkhorn.model import GPT

CPU = Hardware(torch.device("cpu"), torch.float32, False, ())
MODEL = tiny_model(tiny_config())
T = MODEL.config.block_size


def text(length: int) -> Array:
    return np.random.default_rng(length).integers(MODEL.config.vocab_size, size=length).astype("<u2")


def naive(model: GPT, ids: Array) -> float:
    """Log-probabilities of all tokens but the first, each given its window, one forward pass each."""
    losses = []
    for i in range(1, len(ids)):
        start = (i - 1) // T * T
        context = torch.from_numpy(ids[start:i].astype(np.int64))[None]
        logits, _ = model(context)
        losses.append(-logits[0, -1].double().log_softmax(dim=-1)[int(ids[i])].item())
    return sum(losses) / len(losses)


@pytest.mark.parametrize("length", [2, T, T + 1, T + 2, 3 * T + 1, 5 * T + 7])
def test_it_is_the_mean_over_tokens(length: int) -> None:
    ids = text(length)
    expected = naive(MODEL, ids)
    for batch_size in (1, 2, 3, 64):
        assert split_loss(MODEL, ids, CPU, batch_size) == pytest.approx(expected, abs=1e-6, rel=0)


def test_loss_does_not_depend_on_batching(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = text(40 * T + 5)
    expected = split_loss(MODEL, ids, CPU)
    shapes: list[torch.Size] = []
    hook = MODEL.lm_head.register_forward_hook(lambda module, inputs, logits: shapes.append(logits.shape))
    row = 4 * T * MODEL.config.inner  # wider than the vocabulary here
    try:
        for rows in (1, 3, 7, 40):
            monkeypatch.setattr(loss, "MAX_ACTIVATION_BYTES", rows * row)
            shapes.clear()
            assert split_loss(MODEL, ids, CPU) == pytest.approx(expected, abs=1e-6, rel=0)
            assert shapes[0][0] == rows
            assert all(4 * math.prod(shape) <= rows * row for shape in shapes)
            assert sum(b * t for b, t, _ in shapes) == len(ids) - 1
    finally:
        hook.remove()


@pytest.mark.parametrize(
    ("recipe", "vocab_size", "rows"),
    [("shakespeare-char", 90, 64), ("shakespeare", 2048, 64), ("gpt2", 50_257, 1), ("gpt1", 40_478, 3)],
)
def test_the_windows_of_a_recipe(recipe: str, vocab_size: int, rows: int) -> None:
    config = RECIPES[recipe].architecture.to_model_config(vocab_size)
    assert max_rows(config, 64) == rows
    assert 4 * rows * config.block_size * vocab_size <= loss.MAX_ACTIVATION_BYTES


def test_there_is_always_one_window() -> None:
    assert max_rows(tiny_config(vocab_size=10**6, block_size=10**6), 64) == 1
    assert max_rows(tiny_config(), 5) == 5


@pytest.mark.parametrize("training", [True, False])
def test_no_dropout_and_the_mode_stays(training: bool) -> None:
    model = tiny_model(tiny_config(embd_pdrop=0.5, resid_pdrop=0.5)).train(training)
    ids = text(3 * T)
    assert split_loss(model, ids, CPU) == split_loss(MODEL, ids, CPU)
    assert model.training is training


def test_it_runs_in_the_dtype() -> None:
    seen: list[Any] = []
    hook = MODEL.lm_head.register_forward_hook(lambda module, inputs, logits: seen.append(logits.dtype))
    try:
        loss = split_loss(MODEL, text(50), Hardware(torch.device("cpu"), torch.bfloat16, False, ()))
    finally:
        hook.remove()
    assert set(seen) == {torch.bfloat16}
    assert loss == pytest.approx(split_loss(MODEL, text(50), CPU), rel=0.05)


def test_bits() -> None:
    assert bits(math.log(2)) == 1.0
    assert bits(math.log(64)) == pytest.approx(6.0)
    assert bits(0.0) == 0.0
