"""Runs with a pretraining text: the share of each text, the schedule and resuming."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.models import run
from helpers.training import BASE, config_for, same_weights, trainer
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.data.batches import BatchSampler, MixtureSampler
from inkhorn.data.dataset import Dataset
from inkhorn.errors import UsageError
from inkhorn.training.mixture import make_sampler, mixture_plan
from inkhorn.training.optim import Muon
from inkhorn.training.signals import Interrupt
from inkhorn.utils.files import read_json

BLOCK = 8
EARLIER, LATER = np.arange(100), np.arange(1000, 1080)
MIXED = replace(BASE, mix_start=0.25, mix_end=0.75)


@pytest.fixture(scope="module")
def both(data: Dataset) -> Dataset:
    """The small text with a pretraining text."""
    return replace(data, pretrain=np.asarray(data.train[:400]), sha256="both")


@given(start=st.integers(0, 60), rising=st.integers(0, 60), rows=st.integers(1, 7), steps=st.integers(1, 30))
def test_each_text_is_read_in_its_own_order(start: int, rising: int, rows: int, steps: int) -> None:
    mixed = MixtureSampler(EARLIER, LATER, rows, BLOCK, 3, start=start, end=start + rising)
    found = np.concatenate([mixed.batch(step) for step in range(steps)])
    is_later = found[:, 0] >= 1000
    for ids, chosen in ((EARLIER, found[~is_later]), (LATER, found[is_later])):
        alone = BatchSampler(ids, 1, BLOCK, 3)
        expected = [alone.batch(n)[0] for n in range(len(chosen))]
        assert chosen.tolist() == [row.tolist() for row in expected]
    assert not is_later[:start].any()
    assert is_later[start + rising :].all()
    assert mixed.later_rows(len(found)) == is_later.sum()


def test_share_rises_linearly() -> None:
    mixed = MixtureSampler(EARLIER, LATER, 10, BLOCK, 3, start=1000, end=3000)
    counts = [int((mixed.batch(step)[:, 0] >= 1000).sum()) for step in range(400)]
    assert counts[:100] == [0] * 100
    assert counts[300:] == [10] * 100
    for step in range(110, 290, 20):
        assert sum(counts[step - 10 : step + 10]) == pytest.approx(200 * (step - 100) / 200, abs=1.5)


def test_plan(both: Dataset) -> None:
    train = replace(MIXED, steps=2000)
    plan = mixture_plan(both, train, 16)
    assert plan is not None
    sampler = make_sampler(both, train, train.batch_size, 16)
    assert isinstance(sampler, MixtureSampler)
    assert (plan.start, plan.end) == (500, 1500)
    rows = train.steps * train.batch_size
    seen = plan.pretrain_epochs * sampler.earlier.windows + plan.epochs * sampler.later.windows
    assert seen == pytest.approx(rows)
    assert plan.repeats is not None
    before, after = (sampler.later_rows((plan.repeats + n) * train.batch_size) for n in (0, 1))
    assert before <= sampler.later.windows < after
    short = mixture_plan(both, replace(train, steps=2), 16)
    assert short is not None
    assert short.repeats is None
    assert mixture_plan(replace(both, pretrain=None), train, 16) is None


def test_resume_is_bit_equal(both: Dataset, tmp_path: Path) -> None:
    train = replace(MIXED, weight_decay=0.1, weight_decay_start=0.5)
    uninterrupted = trainer(both, tmp_path / "uninterrupted", train).run(resume=False)
    started = trainer(both, tmp_path / "stopped", train)
    state = started.start(resume=False)
    while state.step < 6:
        state = started._train_until_checkpoint(state, Interrupt())
    torch.manual_seed(999)
    assert same_weights(uninterrupted, trainer(both, tmp_path / "stopped", train).run(resume=True))
    other = trainer(both, tmp_path / "other", replace(train, mix_start=0.0)).run(resume=False)
    assert not same_weights(uninterrupted, other)


def test_pretraining_rows_do_not_depend_on_the_text(both: Dataset, tmp_path: Path) -> None:
    """The first steps are of the pretraining text alone."""
    first = trainer(both, tmp_path / "a", MIXED)
    second = trainer(replace(both, train=both.val), tmp_path / "b", MIXED)
    for step in range(3):
        for one, other in zip(first._batches(step), second._batches(step), strict=True):
            assert torch.equal(one, other)
    assert not torch.equal(first._batches(11)[0], second._batches(11)[0])


def test_weight_decay_start(data: Dataset, tmp_path: Path) -> None:
    train = replace(BASE, weight_decay=0.5, weight_decay_start=0.5, ema_decay=0.0)
    states = {
        name: trainer(data, tmp_path / name, changed).run(resume=False)
        for name, changed in {
            "none": replace(train, steps=6, weight_decay=0.0),
            "late": replace(train, steps=6, weight_decay_start=1.0),
            "early": replace(train, steps=6, weight_decay_start=0.0),
        }.items()
    }
    assert same_weights(states["none"], states["late"])
    assert not same_weights(states["none"], states["early"])
    state = trainer(data, tmp_path / "half", train).run(resume=False)
    for optimizer in state.optimizers:
        decays = {group["weight_decay"] for group in optimizer.param_groups}
        assert decays == ({0.5} if isinstance(optimizer, Muon) else {0.5, 0.0})


def test_loss_without_averaging_is_recorded(data: Dataset, tmp_path: Path) -> None:
    from inkhorn.evaluation.loss import split_loss
    from inkhorn.utils.jsonl import read_jsonl as read_log

    started = trainer(data, tmp_path, BASE)
    state = started.run(resume=False)
    lines = [line for line in read_log(tmp_path / "metrics.jsonl") if "val/loss" in line]
    assert ["val/loss_without_ema" in line for line in lines] == [False] * (len(lines) - 1) + [True]
    expected = split_loss(state.export_model(averaged=False), data.val, started.hardware)
    assert lines[-1]["val/loss_without_ema"] == pytest.approx(expected)
    assert lines[-1]["val/loss_without_ema"] != lines[-1]["val/loss"]


def test_mix_end_before_start() -> None:
    with pytest.raises(UsageError, match=r"mix_start \(0\.8\) must not be above mix_end \(0\.5\)"):
        replace(BASE, mix_start=0.8, mix_end=0.5)


def test_command_with_pretraining_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INKHORN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine.txt").write_text("Now the pen is full of ink.\n" * 200)
    (tmp_path / "old.txt").write_text("Once the quill was dry as a bone.\n" * 200)
    flags = ["--text", "mine.txt", "--pretrain-text", "old.txt", "--tokenizer", "bpe", "--vocab-size", "280"]
    quick = ["--device", "cpu", "--sample-tokens", "0", "--out", "run"]
    assert run("train", "test", *flags, *quick, "--steps", "4") == 0
    shown = capsys.readouterr().err
    assert "Pretraining text: " in shown
    assert read_json(tmp_path / "run" / "run.json")["pretrain_text"] == str(tmp_path / "old.txt")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run("train", "--out", "../run", "--resume", "--steps", "6") == 0
    assert run("train", "test", "--pretrain-text", "../old.txt") == 2
    assert "--pretrain-text needs --text" in capsys.readouterr().err


def test_config_keeps_the_architecture(both: Dataset) -> None:
    assert config_for(both, MIXED) == config_for(replace(both, pretrain=None), MIXED)
