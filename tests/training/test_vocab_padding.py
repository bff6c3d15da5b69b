"""Vocabulary padding: it exists in training only; checkpoints, losses and samples never contain it."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import distributed_worker as worker
from helpers.models import tiny_config, tiny_model

from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.config.recipes import RECIPES
from inkhorn.config.train import TrainConfig
from inkhorn.data.dataset import Dataset
from inkhorn.errors import CheckpointError
from inkhorn.evaluation.loss import split_loss
from inkhorn.hardware.device import Hardware
from inkhorn.model import GPT
from inkhorn.training.log_writer import read_log
from inkhorn.training.state import TrainState, new_state
from inkhorn.training.vocab_padding import load_into_padded, pad_vocab, unpad_and_gather

CPU = Hardware(torch.device("cpu"), torch.float32, False, ())
IDS = torch.arange(10)[None] % 17
BASE = replace(worker.BASE, steps=6, grad_accum=1, save_every=2, eval_every=6, ema_decay=0.0, dropout=0.1)


def test_pad_vocab() -> None:
    config = tiny_config()
    assert [pad_vocab(config, multiple).vocab_size for multiple in (0, 1, 8, 17, 128)] == [17, 17, 24, 17, 128]
    gpt2 = RECIPES["gpt2"]
    assert pad_vocab(gpt2.architecture.to_model_config(50_257), gpt2.train.pad_vocab_to).vocab_size == 50_304


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
def test_pad_and_unpad(kind: str, tied: bool) -> None:
    model = tiny_model(tiny_config(model_type=kind, tie_word_embeddings=tied))
    wide = GPT(pad_vocab(model.config, 8)).eval()
    load_into_padded(wide, model)
    logits = wide(IDS)[0]
    assert logits.shape == (1, 10, 24)
    torch.testing.assert_close(logits[..., :17], model(IDS)[0])
    # Padding rows have the mean logit, so at most their share of the probability.
    assert logits.softmax(-1)[..., 17:].sum(-1).max() <= 7 / 24 + 1e-6
    before = torch.get_rng_state()
    narrow = unpad_and_gather(wide, model.config)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(narrow.parameters(), model.parameters(), strict=True))
    assert (narrow.lm_head.weight is narrow.wte.weight) == tied
    torch.testing.assert_close(narrow(IDS)[0], model(IDS)[0], rtol=0, atol=0)
    assert unpad_and_gather(model, model.config) is model


def test_init_from_unpadded_weights(data: Dataset, tmp_path: Path) -> None:
    run = worker.make_trainer(data, tmp_path, replace(BASE, pad_vocab_to=0)).run(resume=False)
    best = RunFolder(tmp_path).latest()
    state = new_state(run.config, replace(BASE, pad_vocab_to=64), CPU, str(best))
    assert state.model.config.vocab_size == 64 > run.config.vocab_size
    assert split_loss(state.export_model(), data.val, CPU) == split_loss(run.model, data.val, CPU)
    rows = torch.from_numpy(data.val[:17].astype("int64"))[None]
    wide, narrow = (model(rows[:, :-1], rows[:, 1:])[1].item() for model in (state.model.eval(), run.model.eval()))
    assert narrow < wide <= narrow + math.log(64 / run.config.vocab_size)


CASES = [{}, {"ema_decay": 0.9}, {"optimizer": "adamw"}, {"lora_rank": 2}, {"lora_rank": 2, "ema_decay": 0.9}]


@pytest.mark.parametrize("changes", CASES)
def test_padded_run_resumes_bit_equal(data: Dataset, tmp_path: Path, changes: dict[str, object]) -> None:
    train: TrainConfig = replace(BASE, **changes)  # type: ignore[arg-type]

    def run(name: str, steps: int) -> TrainState:
        trainer = worker.make_trainer(data, tmp_path / name, train)
        state = trainer.start(resume=name == "cut")
        if name == "cut" and state.step == 0:
            from inkhorn.training.signals import Interrupt

            while state.step < steps:
                state = trainer._train_until_checkpoint(state, Interrupt())
            return state
        return trainer.fit(state)

    uninterrupted = run("uninterrupted", 6)
    run("cut", 4)
    torch.manual_seed(1)
    assert not any("val/loss" in line for line in read_log(tmp_path / "cut" / "metrics.jsonl"))
    resumed = run("cut", 6)
    assert uninterrupted.model.config.vocab_size == 24
    assert uninterrupted.model.wte.weight.shape[0] == 24
    assert all(
        torch.equal(a, b) for a, b in zip(uninterrupted.model.parameters(), resumed.model.parameters(), strict=True)
    )
    folder = RunFolder(tmp_path / "uninterrupted").best()
    assert folder is not None
    saved = GPT.from_pretrained(folder)
    assert saved.config.vocab_size == data.tokenizer.vocab_size == 20
    assert split_loss(saved, data.val, CPU) == pytest.approx(uninterrupted.best_loss, abs=1e-6)


def test_resume_rejects_other_padding(data: Dataset, tmp_path: Path) -> None:
    worker.make_trainer(data, tmp_path, BASE).run(resume=False)
    with pytest.raises(CheckpointError, match="was trained with --pad-vocab-to 8: keep it"):
        worker.make_trainer(data, tmp_path, replace(BASE, pad_vocab_to=64)).run(resume=True)
    assert worker.make_trainer(data, tmp_path, replace(BASE, pad_vocab_to=12, steps=7)).run(resume=True).step == 7


def test_padding_probability_vanishes(data: Dataset, tmp_path: Path) -> None:
    state = worker.make_trainer(data, tmp_path, replace(BASE, steps=40, save_every=40, eval_every=40)).run(resume=False)
    rows = torch.from_numpy(data.val[:17].astype("int64"))[None]
    probs = state.model.eval()(rows[:, :-1])[0].softmax(-1)
    missing = probs[..., data.tokenizer.vocab_size :].sum(-1).mean()
    assert missing < 4 / 24 / 4, "the initial probability is 4 / 24"
