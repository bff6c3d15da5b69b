"""Fine-tuning: all weights or LoRA, from the weights of a model, with early stopping."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training import BASE, CPU, RecordingCallbacks, config_for, same_weights

from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.cli.main import main
from inkhorn.config.train import TrainConfig
from inkhorn.data.dataset import Dataset, tokenize_to_disk
from inkhorn.data.text import TextSource
from inkhorn.model import GPT
from inkhorn.training.log_writer import read_log
from inkhorn.training.lora import load_adapter, lora_modules
from inkhorn.training.state import TrainState
from inkhorn.training.trainer import Trainer

LORA = replace(BASE, lora_rank=2, lora_alpha=4.0, lr=0.01, eval_at_loss=())
OTHER = "the question is to suffer or not to suffer in the nobler mind\n" * 40


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    source = TextSource(name="other", pieces=lambda: (OTHER,), val_pieces=lambda: (OTHER[:200],))
    return tokenize_to_disk(source, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def base(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("base")
    GPT(config_for(data, BASE)).save_pretrained(folder)
    data.tokenizer.save(folder)
    return folder


def finetune(data: Dataset, out: Path, train: TrainConfig, base: Path, resume: bool = False) -> TrainState:
    run = Trainer(config_for(data, train), train, data, out, CPU, 1e12, RecordingCallbacks(), str(base))
    return run.run(resume=resume)


def validation(out: Path) -> list[float]:
    return [line["val/loss"] for line in read_log(out / "metrics.jsonl") if "val/loss" in line]


def test_lora_learns_and_keeps_base_weights(data: Dataset, base: Path, tmp_path: Path) -> None:
    state = finetune(data, tmp_path, replace(LORA, steps=60, eval_every=30, save_every=30), base)
    losses = validation(tmp_path)
    assert losses[-1] < losses[0], "it learns"
    before = GPT.from_pretrained(base)
    kept = dict(state.model.named_parameters())
    for name, parameter in before.named_parameters():
        owner, _, kind = name.rpartition(".")
        original = f"{owner}.parametrizations.{kind}.original"
        torch.testing.assert_close(kept[original if original in kept else name], parameter, rtol=0, atol=0)


def test_adapter_equals_merged_checkpoint(data: Dataset, base: Path, tmp_path: Path) -> None:
    finetune(data, tmp_path, LORA, base)
    folder = RunFolder(tmp_path).latest()
    assert folder is not None
    idx = torch.arange(10)[None] % data.tokenizer.vocab_size
    merged = GPT.from_pretrained(folder)(idx)[0]
    with_adapter = load_adapter(GPT.from_pretrained(base), folder / "adapter").eval()
    torch.testing.assert_close(with_adapter(idx)[0], merged, rtol=1e-5, atol=1e-6)
    assert json.loads((folder / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    uninterrupted = (folder / "model.safetensors").stat().st_size
    assert (folder / "adapter" / "adapter_model.safetensors").stat().st_size < uninterrupted


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_lora_resume_is_bit_equal(data: Dataset, base: Path, tmp_path: Path, ema: float) -> None:
    train = replace(LORA, ema_decay=ema)
    uninterrupted = finetune(data, tmp_path / "uninterrupted", train, base)
    for step in (9, 12):  # as if it had been killed after step 6
        (tmp_path / "uninterrupted" / f"step-{step:07d}").rename(tmp_path / f"taken-{step}")
    again = finetune(data, tmp_path / "uninterrupted", train, base, resume=True)
    assert lora_modules(again.model)
    assert again.step == uninterrupted.step
    assert same_weights(again, uninterrupted)


@pytest.mark.parametrize("patience", [1, 3])
def test_early_stopping(data: Dataset, base: Path, tmp_path: Path, patience: int) -> None:
    # A learning rate so high that the first evaluation stays the best.
    train = replace(
        BASE, steps=400, eval_every=5, save_every=5, patience=patience, lr=0.4, muon_lr=0.4, eval_at_loss=()
    )
    state = finetune(data, tmp_path, replace(train, ema_decay=0.0, warmup_steps=0), base)
    losses = validation(tmp_path)
    best = losses.index(min(losses))
    assert len(losses) - 1 - best == patience, "so many evaluations after the best one"
    assert state.step == 5 * len(losses) < 400
    assert state.best_loss == min(losses)
    kept = RunFolder(tmp_path).best()
    assert kept is not None
    assert RunFolder.step_of(kept) == 5 * (best + 1)
    assert finetune(data, tmp_path, train, base, resume=True).step == state.step, "resumed, it is still done"


def test_no_early_stopping_without_patience(data: Dataset, base: Path, tmp_path: Path) -> None:
    train = replace(BASE, steps=20, eval_every=2, save_every=2, lr=0.4, muon_lr=0.4, eval_at_loss=(), ema_decay=0.0)
    assert finetune(data, tmp_path, train, base).step == 20


@pytest.fixture
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INKHORN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text(OTHER)


@pytest.mark.slow
@pytest.mark.usefixtures("_own_folder")
def test_finetune_command(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> Any:
        return main(["train", *words])

    quick = ["--steps", "4", "--eval-every", "2", "--save-every", "2", "--sample-tokens", "5", "--batch-size", "2"]
    assert run("--init-from", str(base), "--text", "mine.txt", "--out", "full", *quick) == 0
    assert "Initial validation loss" in capsys.readouterr().err
    record = json.loads(Path("full", "run.json").read_text())
    assert record["name"] == "finetune"
    assert record["train"]["patience"] > 0
    assert run("--init-from", str(base), "--text", "mine.txt", "--out", "low", "--lora-rank", "2", *quick) == 0
    assert main(["generate", "--model", "low", "the", "--max-tokens", "5"]) == 0
    capsys.readouterr()
    assert run("--out", "low", "--resume", "--lora-rank", "3") == 1
    assert "--lora-rank" in capsys.readouterr().err
    assert run("--out", "full", "--resume", "--lora-rank", "2") == 1
    assert "--lora-rank" in capsys.readouterr().err
    assert run("small", "--lora-rank", "2", "--text", "mine.txt", "--out", "none") == 2
    assert "--init-from" in capsys.readouterr().err
    assert run("finetune", "--text", "mine.txt", "--out", "none") == 2
    assert "--init-from" in capsys.readouterr().err
    assert run("--init-from", str(base), "--text", "mine.txt", "--lora-rank", "2", "--lora-targets", "attn") == 2
    assert "c_attn" in capsys.readouterr().err
    assert not Path("none").exists()
