"""The trainer: metrics and checkpoints, bit-equal resuming, signals, loss explosions and failures."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.paths import ROOT
from helpers.training import BASE, CPU, RecordingCallbacks, config_for, same_weights, trainer

from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.data.dataset import Dataset
from inkhorn.errors import CheckpointError, TrainingError
from inkhorn.evaluation.loss import split_loss
from inkhorn.model import GPT
from inkhorn.training.log_writer import read_log
from inkhorn.training.signals import Interrupt
from inkhorn.training.state import TrainState, new_state
from inkhorn.training.step import train_step


def weights(out: Path) -> bytes:
    folder = RunFolder(out).latest()
    assert folder is not None
    return (folder / "model.safetensors").read_bytes() + (folder / "trainer" / "state.pt").read_bytes()


def test_run_learns_and_writes_its_files(data: Dataset, tmp_path: Path) -> None:
    callbacks = RecordingCallbacks()
    train = replace(BASE, steps=60, eval_every=20, save_every=20, dropout=0.0, ema_decay=0.0, eval_at_loss=())
    state = trainer(data, tmp_path, train, callbacks).run(resume=False)
    assert state.step == 60
    evaluations = [line for line in read_log(tmp_path / "metrics.jsonl") if "val/loss" in line]
    assert [line["step"] for line in evaluations] == [20, 40, 60]
    assert evaluations[-1]["val/loss"] < 2.0 < evaluations[0]["val/loss"], "it learns"
    assert state.best_loss == min(line["val/loss"] for line in evaluations)
    best = RunFolder(tmp_path).best()
    assert best is not None
    assert split_loss(GPT.from_pretrained(best), data.val, CPU) == state.best_loss
    steps = [line for line in read_log(tmp_path / "metrics.jsonl") if "train/loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 61))
    assert all(len(sample) == 20 for sample in callbacks.samples)
    assert [line["step"] for line in read_log(tmp_path / "samples.jsonl")] == [20, 40, 60]


def test_eval_at_loss(data: Dataset, tmp_path: Path) -> None:
    train = replace(BASE, steps=40, eval_every=40, save_every=40, eval_at_loss=(2.5, 2.8, 0.01))
    trainer(data, tmp_path, train).run(resume=False)
    lines = read_log(tmp_path / "metrics.jsonl")
    losses = {line["step"]: line["train/loss"] for line in lines if "train/loss" in line}
    firsts = [min(step for step, loss in losses.items() if loss <= mark) for mark in (2.8, 2.5)]
    assert 1 < firsts[0] < firsts[1] < 40
    assert [line["step"] for line in lines if "val/loss" in line] == [*firsts, 40]
    assert [line["step"] for line in read_log(tmp_path / "samples.jsonl")] == [*firsts, 40]


def test_dropout_start(data: Dataset, tmp_path: Path) -> None:
    def losses(name: str, **changes: Any) -> list[float]:
        train = replace(BASE, eval_at_loss=(), **changes)
        trainer(data, tmp_path / name, train).run(resume=False)
        return [line["train/loss"] for line in read_log(tmp_path / name / "metrics.jsonl") if "train/loss" in line]

    without, late = losses("without", dropout=0.0), losses("late", dropout=0.2, dropout_start=0.5)
    assert late[:6] == without[:6]
    assert late[6] != without[6]
    assert losses("all along", dropout=0.2, dropout_start=0.0)[0] != without[0]


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_resume_is_bit_equal(data: Dataset, tmp_path: Path, optimizer: Any) -> None:
    train = replace(BASE, optimizer=optimizer, grad_accum=2)
    uninterrupted = trainer(data, tmp_path / "uninterrupted", train).run(resume=False)
    for stop in (3, 6, 9):
        out = tmp_path / f"stopped-{stop}"
        started = trainer(data, out, train)
        state = started.start(resume=False)

        while state.step < stop:
            state = started._train_until_checkpoint(state, Interrupt())
        torch.manual_seed(999)  # another process has another random state
        resumed = trainer(data, out, train).run(resume=True)
        assert same_weights(uninterrupted, resumed), f"stopped at {stop}"
        assert resumed.best_loss == uninterrupted.best_loss
        recorded = [{k: v for k, v in line.items() if k not in TIMES} for line in read_log(out / "metrics.jsonl")]
        expected = read_log(tmp_path / "uninterrupted" / "metrics.jsonl")
        assert recorded == [{k: v for k, v in line.items() if k not in TIMES} for line in expected]


TIMES = ("seconds", "train/tokens_per_sec", "train/mfu")

KILLED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import torch
torch.set_num_threads(1)
from inkhorn.data.dataset import tokenize_to_disk
from inkhorn.data.text import from_path
from dataclasses import replace
from helpers import training
data = tokenize_to_disk(from_path(Path({text!r})), Path({cache!r}))
training.trainer(data, Path({out!r}), replace(training.BASE, steps=40)).run(resume=True)
"""


@pytest.mark.slow
def test_killed_run_resumes_bit_equal(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(data.tokenizer.decode(data.train[:].tolist()))

    def start(out: str) -> subprocess.Popen[bytes]:
        paths = {"text": str(tmp_path / "text.txt"), "cache": str(tmp_path / "cache"), "out": str(tmp_path / out)}
        program = KILLED.format(tests=str(ROOT / "tests"), **paths)
        return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)

    assert start("uninterrupted").wait(timeout=120) == 0
    dice, kills = random.Random(7), 0
    for _ in range(30):
        process = start("killed")
        records = tmp_path / "killed" / "metrics.jsonl"
        before = records.stat().st_size if records.exists() else 0
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if records.exists() and records.stat().st_size != before:  # it trains: now any moment will do
                time.sleep(dice.uniform(0, 0.15))
                break
            time.sleep(0.005)
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
        if kills == 4:
            process = start("killed")
            process.wait(timeout=120)
            break
    assert process.returncode == 0
    assert kills >= 1
    assert weights(tmp_path / "killed") == weights(tmp_path / "uninterrupted")


@pytest.fixture
def hangup() -> Iterator[None]:
    """SIGHUP has its default action, even if the tests were started by nohup."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, previous)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("hangup")
def test_signal_saves_and_stops(data: Dataset, tmp_path: Path, number: signal.Signals) -> None:
    class Impatient(RecordingCallbacks):
        def on_step(self, metrics: dict[str, Any]) -> None:
            if metrics["step"] == 4:
                os.kill(os.getpid(), number)

    state = trainer(data, tmp_path, BASE, Impatient()).run(resume=False)
    latest = RunFolder(tmp_path).latest()
    assert latest is not None
    assert state.step == int(latest.name.removeprefix("step-"))
    assert state.step in (4, 5)
    resumed = trainer(data, tmp_path, BASE).run(resume=True)
    assert same_weights(resumed, trainer(data, tmp_path / "uninterrupted", BASE).run(resume=False))


@pytest.mark.usefixtures("hangup")
def test_repeated_signals() -> None:
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)  # a closed terminal sends several
        assert interrupt.received == signal.SIGHUP
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert interrupt.received == signal.SIGHUP


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN])
def test_previous_handlers_are_restored(before: signal.Handlers) -> None:
    original = signal.signal(signal.SIGHUP, before)
    try:
        with Interrupt():
            assert (signal.getsignal(signal.SIGHUP) == signal.SIG_IGN) == (before == signal.SIG_IGN)
        assert signal.getsignal(signal.SIGHUP) == before
    finally:
        signal.signal(signal.SIGHUP, original)


def test_loss_explosion_rolls_back(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import inkhorn.training.trainer as module

    real, harmed = train_step, list[int]()

    def sometimes(state: TrainState, *rest: Any) -> torch.Tensor:
        values = real(state, *rest)
        if state.step == 8 and not harmed:
            harmed.append(state.step)
            with torch.no_grad():
                for parameter in state.model.parameters():
                    parameter.fill_(math.nan)
            return torch.tensor([math.nan, 1.0])
        return values

    monkeypatch.setattr(module, "train_step", sometimes)
    callbacks = RecordingCallbacks()
    state = trainer(data, tmp_path, BASE, callbacks).run(resume=False)
    assert state.step == 12
    assert (state.rollbacks, state.lr_scale) == (1, 0.5)
    assert any("rolled back to step 6" in line and "scaled by 0.5" in line for line in callbacks.messages)
    lines = read_log(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines if "event" in line] == [6]
    assert 0.0 < max(line["train/lr"] for line in lines if "train/lr" in line) <= BASE.lr
    assert all(math.isfinite(line["train/loss"]) for line in lines if "train/loss" in line)
    rates = {line["step"]: line["train/lr"] for line in lines if "train/lr" in line}
    assert rates[6] / rates[7] > 1.8


@pytest.mark.parametrize("harm", [math.nan, 50.0])
def test_bad_weights_are_not_saved(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: float) -> None:
    """A step reports the loss before its update, so the updated weights may already be bad."""
    import inkhorn.training.trainer as module

    real, harmed = train_step, list[int]()

    def sometimes(state: TrainState, *rest: Any) -> torch.Tensor:
        values = real(state, *rest)
        if state.step == 9 and not harmed:
            harmed.append(state.step)
            with torch.no_grad():
                for model in (state.model, state.ema):
                    for parameter in model.parameters() if model else ():
                        parameter.mul_(harm)
        return values

    monkeypatch.setattr(module, "train_step", sometimes)
    callbacks = RecordingCallbacks()
    state = trainer(data, tmp_path, BASE, callbacks).run(resume=False)
    assert (state.step, state.rollbacks, state.lr_scale) == (12, 1, 0.5)
    assert any("rolled back to step 6" in line for line in callbacks.messages)
    assert state.best_loss < 5
    assert all(folder.name != "step-0000009" or state.is_finite() for folder in RunFolder(tmp_path).steps())


def test_damaged_checkpoint_is_skipped(data: Dataset, tmp_path: Path) -> None:
    uninterrupted = trainer(data, tmp_path).run(resume=False)
    (tmp_path / "step-0000012" / "trainer" / "state.pt").write_bytes(b"half")
    callbacks = RecordingCallbacks()
    resumed = trainer(data, tmp_path, BASE, callbacks).run(resume=True)
    assert "state.pt" in callbacks.messages[0]
    assert "Resuming from step 9" in callbacks.messages[1]
    assert same_weights(resumed, uninterrupted)


def test_repeated_explosion_raises(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import inkhorn.training.trainer as module

    real = train_step

    def always(state: TrainState, *rest: Any) -> torch.Tensor:
        values = real(state, *rest)
        return values if state.step < 5 else torch.tensor([math.inf, 1.0])

    monkeypatch.setattr(module, "train_step", always)
    with pytest.raises(
        TrainingError, match=r"exploded 4 times.*--lr and --muon-lr.*last good checkpoint is .*step-0000003"
    ):
        trainer(data, tmp_path, BASE).run(resume=False)
    latest = RunFolder(tmp_path).latest()
    assert latest is not None
    assert latest.name == "step-0000003"


def test_high_learning_rate_raises(data: Dataset, tmp_path: Path) -> None:
    train = replace(BASE, optimizer="adamw", lr=9.0, grad_clip=0.0, warmup_steps=0, zero_init=False, steps=30)
    with pytest.raises(TrainingError, match="exploded"):
        trainer(data, tmp_path, train).run(resume=False)


def test_out_of_memory_hint(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*args: Any) -> torch.Tensor:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr("inkhorn.training.trainer.train_step", exhausted)
    with pytest.raises(TrainingError, match=r"out of memory.*--batch-size 2 --grad-accum 2"):
        trainer(data, tmp_path).run(resume=False)


def test_full_disk_keeps_old_checkpoint(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.save

    def full(tensors: Any, path: Path) -> None:
        real(tensors, path)
        if "step-0000009" in str(path):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match=r"No space left.*last complete one is .*step-0000006"):
        trainer(data, tmp_path).run(resume=False)
    assert sorted(path.name for path in tmp_path.glob("step-*"))[-1] == "step-0000006"
    monkeypatch.setattr(torch, "save", real)
    resumed = trainer(data, tmp_path).run(resume=True)
    assert same_weights(resumed, trainer(data, tmp_path / "uninterrupted").run(resume=False))


def test_resume_with_other_settings(data: Dataset, tmp_path: Path) -> None:
    trainer(data, tmp_path, replace(BASE, steps=3)).run(resume=False)
    other = replace(data, sha256="0" * 64)
    with pytest.raises(CheckpointError, match="another text"):
        trainer(other, tmp_path).run(resume=True)
    with pytest.raises(CheckpointError, match="trained with --optimizer muon, not adamw"):
        trainer(data, tmp_path, replace(BASE, optimizer="adamw")).run(resume=True)
    with pytest.raises(CheckpointError, match="another architecture or dropout"):
        trainer(data, tmp_path, replace(BASE, dropout=0.3)).run(resume=True)


@pytest.mark.parametrize("name", ["trainer/state.pt", "trainer/state.json", "model.safetensors"])
def test_damaged_checkpoint_raises(data: Dataset, tmp_path: Path, name: str) -> None:
    trainer(data, tmp_path, replace(BASE, steps=3)).run(resume=False)
    latest = RunFolder(tmp_path).latest()
    assert latest is not None
    path = latest / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=path.name):
        trainer(data, tmp_path).run(resume=True)


def test_gradient_accumulation_equals_large_batch(data: Dataset, tmp_path: Path) -> None:
    base = replace(BASE, optimizer="adamw", dropout=0.0, ema_decay=0.0, steps=4)
    large = trainer(data, tmp_path / "a", replace(base, batch_size=8)).run(resume=False)
    small = trainer(data, tmp_path / "b", replace(base, batch_size=4, grad_accum=2)).run(resume=False)
    for (name, a), b in zip(large.model.named_parameters(), small.model.parameters(), strict=True):
        if not name.endswith(
            "c_attn.bias"
        ):  # a key's bias has no effect: its gradient is rounding, which Adam blows up
            torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)


def test_ema_follows_weights(data: Dataset, tmp_path: Path) -> None:
    state = trainer(data, tmp_path, replace(BASE, steps=12)).run(resume=False)
    assert state.ema is not None
    fresh = new_state(config_for(data, BASE), BASE, CPU).model
    for name, weight in state.model.named_parameters():
        average = dict(state.ema.named_parameters())[name]
        if name.endswith("c_fc.weight"):
            assert 0 < (average - weight).norm() < (dict(fresh.named_parameters())[name] - weight).norm()


def test_golden_losses(data: Dataset, tmp_path: Path) -> None:
    """Fifty steps of a tiny model. A change of these numbers changes the results of every recipe."""
    train = replace(BASE, steps=50, dropout=0.0, ema_decay=0.0, eval_every=50, save_every=50, sample_tokens=0)
    trainer(data, tmp_path, train).run(resume=False)
    lines = [line for line in read_log(tmp_path / "metrics.jsonl") if "train/loss" in line]
    losses = [line["train/loss"] for line in lines][4::15]
    golden = json.loads((Path(__file__).parent / "golden_losses.json").read_text())
    np.testing.assert_allclose(losses, golden, rtol=2e-3)
